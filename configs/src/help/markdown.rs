//! docs/settings.md.

use super::settings::{Setting, Settings, What};
use super::text::{defaults, kind, on_resume, unit};
use crate::schema::Role;

const HEAD: &str = "\
# Settings

Every setting with its meaning, its values and its default; `dtrain help KEY` prints the same of one. The page is made of the
comments of `configs/src/schema/`, by `dtrain help --markdown settings`; a test compares the two.

`NAME` in a key is a name of your own, and `[]` stands for each element of a list. Where a default is followed by names in
brackets, it is that of these methods, optimizers or networks, and the others do not have the setting. \"On resume\" says what another
value means for a run that goes on ([configuration.md](configuration.md#what-may-change-when-a-run-goes-on)).
";

/// The text of the page.
pub fn page() -> String {
    let settings = Settings::collect();
    let mut page = HEAD.to_owned();
    let is_top = |setting: &&Setting| !setting.key.contains('.') && !matches!(setting.what, What::Section);
    page += "\n## Of the run as a whole\n\n";
    page += &table(settings.all.iter().filter(is_top));
    for section in settings.sections() {
        page += &format!("\n## {}\n\n{}\n\n", section.key, section.comment);
        page += &table(settings.below(&section.key));
    }
    page
}

fn table<'a>(settings: impl Iterator<Item = &'a Setting>) -> String {
    let mut text = "| key | default | meaning | on resume |\n|---|---|---|---|\n".to_owned();
    for Setting { key, comment, what } in settings {
        text += &match what {
            What::Section => format!("| **`{key}`** | | {} | |\n", cell(comment)),
            What::Value(value) => {
                let mut meaning = format!("{} Value: {}", cell(comment), kind(value));
                let words =
                    value.choices().iter().map(|choice| format!("<br>`{}`: {}", choice.word, choice.comment));
                meaning.extend(words.map(|word| cell(&word)));
                meaning += &unit(key).map_or_else(String::new, |unit| format!("; unit: {unit}"));
                let defaults = cell(&defaults(&value.defaults));
                format!("| `{key}` | `{defaults}` | {meaning} | {} |\n", on_resume(Role::of(key)))
            }
        };
    }
    text
}

/// A bar would end the cell.
fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}
