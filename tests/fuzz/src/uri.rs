//! URIs: the parts lie in the text, comparing is fair, and routing takes whatever is read.

use std::sync::LazyLock;

use routing::{Decision, Query, Route, Snapshot, Source, Trunk, TrunkId};
use sip::{Scheme, Uri};

/// One URI, or two with a line end between.
pub(crate) fn check(bytes: &[u8]) {
    let mut lines = bytes.splitn(2, |byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    read(first);
    if let Some(second) = lines.next() {
        read(second);
        if let (Ok(one), Ok(two)) = (Uri::parse(first), Uri::parse(second)) {
            assert_eq!(one.equivalent(&two), two.equivalent(&one), "the same in both directions");
        }
    }
    is_routed(first);
    is_source(first);
}

pub(crate) fn read(text: &[u8]) {
    let Ok(uri) = Uri::parse(text) else { return };
    assert_eq!(uri.raw, text);
    assert!(uri.equivalent(&uri));
    let whole = text.as_ptr_range();
    let mut last = whole.start;
    let parts = [uri.user, uri.password, Some(uri.host), Some(uri.params.raw()), Some(uri.headers)];
    for part in parts.into_iter().flatten().filter(|part| !part.is_empty()) {
        let range = part.as_ptr_range();
        assert!(last <= range.start && range.end <= whole.end, "the parts lie in order");
        last = range.end;
    }
    assert!(uri.unescaped_user().len() <= uri.user.unwrap_or_default().len());
    let _ = (uri.host_ip(), uri.target_ip(), uri.transport(), uri.carried_by(), uri.is_lr());
    let unescaped: usize = uri.header_values("Replaces").map(|value| value.len()).sum();
    assert!(unescaped <= uri.headers.len());
    if matches!(uri.scheme, Scheme::Sip | Scheme::Sips) {
        is_requested(&uri);
    }
}

/// As a Request-URI it names the same, without what no Request-URI has.
fn is_requested(uri: &Uri<'_>) {
    let requested = uri.to_request_uri();
    let again = Uri::parse(&requested).expect("a Request-URI is a URI");
    assert_eq!((again.scheme, again.user, again.password), (uri.scheme, uri.user, uri.password));
    assert_eq!((again.host, again.port), (uri.host, uri.port));
    assert!(again.headers.is_empty() && !again.params.has("method"));
    assert_eq!(again.to_request_uri(), requested);
}

/// Routing says where it goes, or why nowhere.
fn is_routed(text: &[u8]) {
    static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| {
        let mut trunk = Trunk::new("carrier");
        trunk.peers = vec!["sip:192.0.2.7".to_owned()];
        Snapshot::new(vec![trunk], vec![Route::new("out", [TrunkId(0)])]).unwrap()
    });
    let Ok(text) = std::str::from_utf8(text) else { return };
    for local_user in [false, true] {
        let source = "192.0.2.9:5060".parse().unwrap();
        let query = Query { trunk: Some(TrunkId(0)), source, caller: text, uri: text, local_user };
        match SNAPSHOT.decide(&query) {
            Decision::Route(plan) => assert!(!plan.targets.is_empty()),
            Decision::Refuse(refusal) => {
                assert!((400..700).contains(&refusal.status) && refusal.why.len() < 8_192);
            }
        }
    }
}

/// A source that is read says itself as it was read.
fn is_source(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Ok(source) = Source::parse(text) else { return };
    assert_eq!(Source::parse(&source.to_string()), Ok(source), "{source}");
}
