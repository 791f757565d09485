//! Protocol state is plain data: the pure crates never see a runtime, a socket, a file, a thread, a clock, the system's
//! randomness, a hash map whose order changes from run to run, or a global.
//!
//! The sources are parsed, so a name counts wherever it stands (in a `use` tree, behind an alias, inside a macro) and
//! comments and strings do not. Code under `#[cfg(test)]` is left alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree};

use crate::Breach;

/// The crate roots and modules that must be pure, from the root of the workspace.
pub const PURE_ROOTS: &[&str] = &[
    "services/sip/src/lib.rs",
    "services/call/src/lib.rs",
    "services/routing/src/lib.rs",
    "services/replay/src/lib.rs",
    "services/media/src/stream.rs",
    "services/media/src/stream/mod.rs",
];

const CLOCK: &str = "reads a clock; time comes in as an argument";
const SOCKET: &str = "is a socket; messages come in as inputs and leave as outputs";
const WORLD: &str = "touches the world outside; a pure crate is given what it needs";
const THREAD: &str = "is a thread or a lock; a Core is single-threaded and owns its state";
const GLOBAL: &str = "is a global; state belongs to a value that somebody owns";
const RANDOM: &str = "draws from the system's randomness; randomness comes in as a seed";
const ORDER: &str =
    "is hashed with a random key, so its order differs from run to run; give it a fixed hasher";
const RUNTIME: &str = "belongs to a runtime; pure crates are polled, they do not wait";

/// Paths that may not begin a name, `core` and `alloc` read as `std`.
const BANNED_PATHS: &[(&str, &str)] = &[
    ("std::time::Instant", CLOCK),
    ("std::time::SystemTime", CLOCK),
    ("std::time::UNIX_EPOCH", CLOCK),
    ("std::net::UdpSocket", SOCKET),
    ("std::net::TcpStream", SOCKET),
    ("std::net::TcpListener", SOCKET),
    ("std::net::ToSocketAddrs", SOCKET),
    ("std::os", WORLD),
    ("std::fs", WORLD),
    ("std::env", WORLD),
    ("std::process", WORLD),
    ("std::io::stdin", WORLD),
    ("std::io::stdout", WORLD),
    ("std::io::stderr", WORLD),
    ("std::thread", THREAD),
    ("std::sync::Mutex", THREAD),
    ("std::sync::RwLock", THREAD),
    ("std::sync::Condvar", THREAD),
    ("std::sync::Barrier", THREAD),
    ("std::sync::mpsc", THREAD),
    ("std::sync::atomic", GLOBAL),
    ("std::sync::Once", GLOBAL),
    ("std::sync::OnceLock", GLOBAL),
    ("std::sync::LazyLock", GLOBAL),
    ("std::cell::OnceCell", GLOBAL),
    ("std::cell::LazyCell", GLOBAL),
    ("foldhash::HashMap", ORDER),
    ("foldhash::HashSet", ORDER),
    ("tokio", RUNTIME),
    ("futures", RUNTIME),
    ("mio", RUNTIME),
    ("libc", WORLD),
    ("rustix", WORLD),
    ("socket2", SOCKET),
];

/// Names that may not stand anywhere in a path.
const BANNED_NAMES: &[(&str, &str)] = &[
    ("RandomState", ORDER),
    ("OsRng", RANDOM),
    ("SysRng", RANDOM),
    ("ThreadRng", RANDOM),
    ("thread_rng", RANDOM),
    ("getrandom", RANDOM),
    ("from_os_rng", RANDOM),
    ("from_entropy", RANDOM),
    ("try_from_os_rng", RANDOM),
    ("new_v4", RANDOM),
    ("now_v1", CLOCK),
    ("now_v6", CLOCK),
    ("now_v7", CLOCK),
];

const BANNED_MACROS: &[(&str, &str)] = &[
    ("println", WORLD),
    ("print", WORLD),
    ("eprintln", WORLD),
    ("eprint", WORLD),
    ("thread_local", GLOBAL),
    ("lazy_static", GLOBAL),
];

/// What the module tree that begins at `file` does that it may not; nothing when there is no such file.
pub fn check_tree(root: &Path, file: &Path) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let mut waiting = vec![file.to_path_buf()];
    while let Some(file) = waiting.pop() {
        let Ok(source) = std::fs::read_to_string(root.join(&file)) else { continue };
        let (found, modules) = check_source(&file, &source);
        breaches.extend(found);
        for module in modules {
            let flat = module.with_extension("rs");
            waiting.push(if root.join(&flat).exists() { flat } else { module.join("mod.rs") });
        }
    }
    breaches.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    breaches
}

/// What one file does that it may not, and the modules it declares outside of tests (paths without `.rs`).
pub fn check_source(file: &Path, source: &str) -> (Vec<Breach>, Vec<PathBuf>) {
    let parsed = match syn::parse_file(source) {
        Ok(parsed) => parsed,
        Err(error) => {
            let line = error.span().start().line;
            let breach = Breach { file: file.to_path_buf(), line, what: format!("does not parse: {error}") };
            return (vec![breach], Vec::new());
        }
    };
    let mut aliases = Aliases::default();
    aliases.visit_file(&parsed);
    let mut reader = Reader { file, aliases: aliases.0, breaches: Vec::new(), modules: Vec::new() };
    reader.visit_file(&parsed);
    (reader.breaches, reader.modules)
}

/// Whether an item is compiled for tests only.
fn for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || (attribute.path().is_ident("cfg")
                && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string() == "test"))
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Calls `each` with every full path of a `use` tree, the name it goes by, and its line.
fn walk_use(tree: &UseTree, prefix: &[String], each: &mut impl FnMut(Vec<String>, String, usize)) {
    let with = |name: String| {
        let mut path = prefix.to_vec();
        if name != "self" {
            path.push(name);
        }
        path
    };
    match tree {
        UseTree::Path(path) => walk_use(&path.tree, &with(path.ident.to_string()), each),
        UseTree::Name(name) => {
            let path = with(name.ident.to_string());
            let known_as = path.last().cloned().unwrap_or_default();
            each(path, known_as, name.span().start().line);
        }
        UseTree::Rename(rename) => {
            let line = rename.span().start().line;
            each(with(rename.ident.to_string()), rename.rename.to_string(), line);
        }
        // `use std::time::*` hides what is used: the star itself is read as a name, so that a ban on a parent bites.
        UseTree::Glob(glob) => each(with("*".to_owned()), "*".to_owned(), glob.span().start().line),
        UseTree::Group(group) => group.items.iter().for_each(|tree| walk_use(tree, prefix, each)),
    }
}

/// What the names of a file stand for: `Clock` → `std::time::Instant` after `use std::time::Instant as Clock`.
#[derive(Default)]
struct Aliases(BTreeMap<String, Vec<String>>);

impl<'ast> Visit<'ast> for Aliases {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        walk_use(&item.tree, &[], &mut |path, known_as, _| {
            self.0.insert(known_as, path);
        });
    }
}

struct Reader<'a> {
    file: &'a Path,
    aliases: BTreeMap<String, Vec<String>>,
    breaches: Vec<Breach>,
    modules: Vec<PathBuf>,
}

impl Reader<'_> {
    fn breach(&mut self, line: usize, name: &str, why: &str) {
        let what = format!("`{name}` {why}");
        if !self.breaches.iter().any(|breach| breach.line == line && breach.what == what) {
            self.breaches.push(Breach { file: self.file.to_path_buf(), line, what });
        }
    }

    fn full(&self, path: Vec<String>) -> Vec<String> {
        let mut full =
            match path.split_first().and_then(|(first, rest)| Some((self.aliases.get(first)?, rest))) {
                Some((meaning, rest)) => meaning.iter().chain(rest).cloned().collect(),
                None => path,
            };
        if let Some(first) = full.first_mut()
            && (first == "core" || first == "alloc")
        {
            "std".clone_into(first);
        }
        full
    }

    fn judge(&mut self, path: Vec<String>, line: usize) {
        let path = self.full(path);
        let name = path.join("::");
        let starred = name.strip_suffix("::*");
        for (banned, why) in BANNED_PATHS {
            let below =
                name.strip_prefix(banned).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
            let hides = starred.is_some_and(|parent| {
                banned.rsplit_once("::").is_some_and(|(banned_parent, _)| banned_parent == parent)
            });
            if below || hides {
                self.breach(line, &name, why);
            }
        }
        for (banned, why) in BANNED_NAMES {
            if path.iter().any(|segment| segment == banned) {
                self.breach(line, &name, why);
            }
        }
        let random_map = ["std::collections::HashMap::", "std::collections::HashSet::"]
            .iter()
            .filter_map(|map| name.strip_prefix(map))
            .any(|function| matches!(function, "new" | "with_capacity" | "from"));
        if random_map {
            self.breach(line, &name, ORDER);
        }
    }

    fn judge_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let (mut line, mut colons) = (0, 0);
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.judge(std::mem::take(&mut path), line);
                        line = ident.span().start().line;
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    self.judge(std::mem::take(&mut path), line);
                    colons = 0;
                    self.judge_tokens(group.stream());
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {
                    self.judge(std::mem::take(&mut path), line);
                    colons = 0;
                }
            }
        }
        self.judge(path, line);
    }

    fn judge_hasher(&mut self, path: &syn::Path) {
        let full =
            self.full(path.segments.iter().map(|segment| segment.ident.to_string()).collect()).join("::");
        let without_hasher = match full.as_str() {
            "std::collections::HashMap" | "std::collections::hash_map::HashMap" => 2,
            "std::collections::HashSet" | "std::collections::hash_set::HashSet" => 1,
            _ => return,
        };
        if let Some(syn::PathArguments::AngleBracketed(arguments)) =
            path.segments.last().map(|segment| &segment.arguments)
            && arguments.args.len() == without_hasher
        {
            self.breach(path.span().start().line, &full, ORDER);
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.content.is_none() {
            let stem = self.file.file_stem().unwrap_or_default();
            let folder = self.file.parent().unwrap_or(Path::new(""));
            let folder = match stem.to_str() {
                Some("lib" | "main" | "mod") => folder.to_path_buf(),
                _ => folder.join(stem),
            };
            self.modules.push(folder.join(item.ident.to_string()));
        }
        visit::visit_item_mod(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let mut found = Vec::new();
        walk_use(&item.tree, &[], &mut |path, _, line| found.push((path, line)));
        for (path, line) in found {
            self.judge(path, line);
        }
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        if !matches!(item.mutability, syn::StaticMutability::None) {
            self.breach(item.span().start().line, &item.ident.to_string(), GLOBAL);
        }
        visit::visit_item_static(self, item);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let line = path.span().start().line;
        self.judge_hasher(path);
        self.judge(path.segments.iter().map(|segment| segment.ident.to_string()).collect(), line);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, makro: &'ast syn::Macro) {
        let line = makro.path.span().start().line;
        let name = makro.path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
        for (banned, why) in BANNED_MACROS {
            if name == *banned {
                self.breach(line, &format!("{name}!"), why);
            }
        }
        self.judge_tokens(makro.tokens.clone());
    }

    fn visit_expr_await(&mut self, expression: &'ast syn::ExprAwait) {
        self.breach(expression.await_token.span.start().line, ".await", RUNTIME);
        visit::visit_expr_await(self, expression);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        if let Some(token) = signature.asyncness {
            self.breach(token.span.start().line, "async fn", RUNTIME);
        }
        visit::visit_signature(self, signature);
    }
}
