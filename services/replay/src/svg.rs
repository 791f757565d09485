//! The ladder as a drawing: one file that needs nothing else, in the colours of whoever looks at it.

use std::fmt::Write;

use crate::ladder::{BOX, Ladder, What};

const COLUMN: usize = 300;
const TIMES: usize = 90;
const ROW: usize = 26;
const TOP: usize = 92;

/// The colours are those of a light page or, where the reader asks for it, of a dark one.
const STYLE: &str = "\
text{font:13px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:#1f2328}\
.paper{fill:#ffffff}.life{stroke:#d0d7de;stroke-width:1.5}.arrow{stroke:#0550ae;stroke-width:1.5}\
.head{fill:#0550ae}.refused .arrow{stroke:#b35900}.refused .head{fill:#b35900}.refused text{fill:#b35900}\
.party{fill:#eef2f6;stroke:#d0d7de}.name,.title{font-weight:600}.time,.note{fill:#59636e}\
.note{font-size:12px}.state{fill:#1a7f37;font-size:12px}.under{fill:#ffffff}\
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.paper,.under{fill:#0d1117}.life{stroke:#30363d}\
.arrow{stroke:#79b8ff}.head{fill:#79b8ff}.refused .arrow{stroke:#f0a35e}.refused .head,.refused text{fill:#f0a35e}\
.party{fill:#161b22;stroke:#30363d}.time,.note{fill:#9198a1}.state{fill:#56d364}}";

impl Ladder {
    /// The drawing as SVG.
    pub fn svg(&self) -> String {
        let longest = self.rows.iter().map(|row| match &row.what {
            What::Arrow { .. } => 0,
            What::Note(text) | What::State(text) => middle(BOX) + 40 + text.chars().count() * 8,
        });
        let width = (TIMES + self.parties.len() * COLUMN).max(longest.max().unwrap_or(0));
        let height = TOP + self.rows.len() * ROW + 30;
        let mut svg = String::new();
        // Writing to a string cannot fail.
        let _ = write!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" role=\"img\">\n<title>{0}</title>\n<style>{STYLE}</style>\n\
             <rect class=\"paper\" width=\"{width}\" height=\"{height}\"/>\n\
             <text class=\"title\" x=\"16\" y=\"26\">{0}</text>\n",
            escape(&self.title)
        );
        for (column, name) in self.parties.iter().enumerate() {
            let (x, bottom) = (middle(column), height - 16);
            let _ = write!(
                svg,
                "<line class=\"life\" x1=\"{x}\" y1=\"72\" x2=\"{x}\" y2=\"{bottom}\"/>\n\
                 <rect class=\"party\" x=\"{}\" y=\"44\" width=\"{}\" height=\"28\" rx=\"6\"/>\n\
                 <text class=\"name\" x=\"{x}\" y=\"63\" text-anchor=\"middle\">{}</text>\n",
                x - COLUMN / 2 + 20,
                COLUMN - 40,
                escape(&shortened(name, 30))
            );
        }
        let mut last = None;
        for (at, row) in self.rows.iter().enumerate() {
            let y = TOP + at * ROW + 8;
            if last != Some(row.at_us) {
                let (seconds, millis) = (row.at_us / 1_000_000, row.at_us / 1_000 % 1_000);
                let _ = writeln!(
                    svg,
                    "<text class=\"time\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{seconds}.{millis:03}</text>",
                    TIMES - 8,
                    y + 4
                );
            }
            last = Some(row.at_us);
            match &row.what {
                What::Arrow { from, to, label } => arrow(&mut svg, *from, *to, label, y),
                What::Note(text) => note(&mut svg, "note", "·", text, y),
                What::State(text) => note(&mut svg, "state", "▪", text, y),
            }
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn middle(column: usize) -> usize {
    TIMES + column * COLUMN + COLUMN / 2
}

fn arrow(svg: &mut String, from: usize, to: usize, label: &str, y: usize) {
    let (start, end) = (middle(from), middle(to));
    // The head is nine units long, on the side from which it comes.
    let (tip, neck) = if start < end { (end - 2, end - 11) } else { (end + 2, end + 11) };
    let refused = label.starts_with(['3', '4', '5', '6']);
    let class = if refused { " class=\"refused\"" } else { "" };
    let (left, right) = (start.min(end), start.max(end));
    let text = shortened(label, (right - left) / 8 - 4);
    let _ = writeln!(
        svg,
        "<g{class}><line class=\"arrow\" x1=\"{start}\" y1=\"{y}\" x2=\"{neck}\" y2=\"{y}\"/>\
         <path class=\"head\" d=\"M{tip} {y}L{neck} {} L{neck} {}Z\"/>\
         <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text></g>",
        y - 5,
        y + 5,
        (left + right) / 2,
        y - 5,
        escape(&text)
    );
}

fn note(svg: &mut String, class: &str, mark: &str, text: &str, y: usize) {
    let x = middle(BOX) + 10;
    let width = (text.chars().count() + 2) * 8;
    let _ = writeln!(
        svg,
        "<rect class=\"under\" x=\"{}\" y=\"{}\" width=\"{width}\" height=\"16\"/>\
         <text class=\"{class}\" x=\"{x}\" y=\"{}\">{mark} {}</text>",
        x - 4,
        y - 8,
        y + 4,
        escape(text)
    );
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // XML has no way to say them.
            control if control.is_control() => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}
