//! Charts of bars, as SVG that is read on light and on dark pages.

use std::fmt::Write;

const WIDTH: f64 = 760.0;
const MARGIN: f64 = 16.0;
/// Where bars begin, behind the names.
const BARS: f64 = 110.0;
/// Room for what stands behind the longest bar.
const TEXT: f64 = 90.0;
const BAR: f64 = 14.0;
const STEP: f64 = 19.0;
const HEADING: f64 = 58.0;
const GROUP_HEADING: f64 = 24.0;
const GROUP_GAP: f64 = 12.0;

/// The colours are far enough apart in lightness to be told from each other without seeing hue.
const STYLE: &str = "
  text { font: 13px system-ui, -apple-system, 'Segoe UI', sans-serif; fill: #1f2328 }
  .title { font-size: 16px; font-weight: 600 } .group { font-weight: 600 } .quiet { fill: #59636e }
  .own { fill: #0b5fce } .first { fill: #b35900 } .second { fill: #2f8f4e } .third { fill: #8e63c7 } .floor { fill: #9aa4af }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .quiet { fill: #9198a1 }
    .own { fill: #58a6ff } .first { fill: #e08a3c } .second { fill: #3fb968 } .third { fill: #b392f0 } .floor { fill: #6e7681 }
  }
";

/// Groups of bars, one below the other.
#[derive(Debug, Default)]
pub(super) struct Chart {
    pub title: String,
    pub note: String,
    pub groups: Vec<Group>,
    /// Where longer bars are cut.
    pub longest: Option<f64>,
}

/// Bars that are compared.
#[derive(Debug)]
pub(super) struct Group {
    pub title: String,
    pub bars: Vec<Bar>,
}

/// One bar, with a name before it and a text behind it.
#[derive(Debug)]
pub(super) struct Bar {
    pub name: &'static str,
    pub tint: Tint,
    pub length: f64,
    pub text: String,
}

/// A colour, by its role.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tint {
    Own,
    First,
    Second,
    Third,
    Floor,
}

impl Tint {
    fn class(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::First => "first",
            Self::Second => "second",
            Self::Third => "third",
            Self::Floor => "floor",
        }
    }
}

impl Chart {
    /// The file's text.
    pub fn draw(&self) -> String {
        let (mut body, mut y) = (String::new(), HEADING);
        let longest = self.groups.iter().flat_map(|group| &group.bars).map(|bar| bar.length).fold(0.0, f64::max);
        let longest = self.longest.map_or(longest, |cut| cut.min(longest));
        let scale = if longest > 0.0 { (WIDTH - BARS - TEXT - MARGIN) / longest } else { 0.0 };
        // Writing to a String does not fail.
        for group in &self.groups {
            y += GROUP_GAP;
            let _ = writeln!(body, r#"<text class="group" x="{MARGIN}" y="{:.0}">{}</text>"#, y + BAR, escaped(&group.title));
            y += GROUP_HEADING;
            for bar in &group.bars {
                bar.draw(&mut body, y, scale, longest);
                y += STEP;
            }
        }
        let (height, title, note) = (y + MARGIN, escaped(&self.title), escaped(&self.note));
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}">
<style>{STYLE}</style>
<text class="title" x="{MARGIN}" y="30">{title}</text>
<text class="quiet" x="{MARGIN}" y="50">{note}</text>
{body}</svg>
"#
        )
    }
}

impl Bar {
    fn draw(&self, body: &mut String, y: f64, scale: f64, longest: f64) {
        let is_cut = self.length > longest;
        let width = (self.length.clamp(0.0, longest) * scale).max(1.0);
        let (text_y, end) = (y + BAR - 3.0, BARS + width);
        let (name, text, class) = (escaped(self.name), escaped(&self.text), self.tint.class());
        let _ = writeln!(body, r#"<text class="quiet" x="{MARGIN}" y="{text_y:.0}">{name}</text>"#);
        let _ = writeln!(body, r#"<rect class="{class}" x="{BARS}" y="{y:.0}" width="{width:.1}" height="{BAR}" rx="2"/>"#);
        if is_cut {
            // Two thin lines through the end say that the bar goes on.
            let _ =
                writeln!(body, r##"<path d="M{:.1} {:.0}l6 -18m4 0l-6 18" stroke="#888" stroke-width="2"/>"##, end - 16.0, y + BAR + 2.0);
        }
        let _ = writeln!(body, r#"<text x="{:.1}" y="{text_y:.0}">{text}</text>"#, end + 6.0);
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(lengths: &[f64], longest: Option<f64>) -> String {
        let bars = lengths.iter().map(|length| Bar { name: "it", tint: Tint::Own, length: *length, text: "a < b".to_owned() });
        let groups = vec![Group { title: "50/50 & more".to_owned(), bars: bars.collect() }];
        Chart { title: "A \"title\"".to_owned(), note: String::new(), groups, longest }.draw()
    }

    #[test]
    fn the_longest_bar_takes_the_width() {
        let drawn = chart(&[1.0, 2.0], None);
        assert!(drawn.contains(r#"width="544.0""#) && drawn.contains(r#"width="272.0""#), "{drawn}");
        assert!(!drawn.contains("<path"));
    }

    #[test]
    fn a_bar_that_is_too_long_is_cut_and_shows_it() {
        let drawn = chart(&[1.0, 100.0], Some(2.0));
        assert!(drawn.contains(r#"width="544.0""#) && drawn.contains(r#"width="272.0""#), "{drawn}");
        assert_eq!(drawn.matches("<path").count(), 1);
    }

    #[test]
    fn text_is_text() {
        let drawn = chart(&[f64::NAN], None);
        assert!(drawn.contains("50/50 &amp; more") && drawn.contains("a &lt; b") && drawn.contains("A &quot;title&quot;"), "{drawn}");
        assert!(!drawn.contains("NaN"));
    }
}
