//! docs/howto/words-of-other-tools.md: the tables of words as a page.

use dtrain_configs::words_of_other_tools;

use super::table::{OPTIONS, Row, VERBS};

const HEAD: &str = "\
# Words of other tools

Who comes from Lightning, Hydra, torchrun, accelerate, solo-learn or W&B may type what they are used to: `dtrain` answers with
what to write here, and does nothing else.

    $ dtrain experiment=simclr_fsdd gradient_clip_val=0.5
    ...
    hint: write `trainer.grad_clip=0.5`

The words of lightning-hydra-template-extended are in [configuration.md](../configuration.md#coming-from-lightning-hydra-template-extended);
what it writes as `trainer.KEY` is known as `KEY` too. Every setting is in [settings.md](../settings.md). This page is made of the
program's own tables, by `dtrain help --markdown words`; a test compares the two, and follows every hint.
";

/// The text of the page.
pub(crate) fn page() -> String {
    let mut page = format!("{HEAD}\n## Settings\n\n| there | here |\n|---|---|\n");
    for word in words_of_other_tools() {
        page += &format!("| `{}` | {} |\n", word.there, word.here);
    }
    page += "\n## Verbs\n\n| there | here |\n|---|---|\n";
    page += &rows(VERBS, "");
    page += "\n## Options\n\n| there | here |\n|---|---|\n";
    page += &rows(OPTIONS, "-");
    page
}

fn rows(rows: &[Row], dash: &str) -> String {
    let named = |name: &&str| match (dash, name.len()) {
        ("", _) => format!("`{name}`"),
        (_, 1 | 2) => format!("`-{name}`"),
        _ => format!("`--{name}`"),
    };
    let line = |(names, hint): &Row| {
        let names: Vec<String> = names.iter().map(named).collect();
        format!("| {} | {hint} |\n", names.join(", "))
    };
    rows.iter().map(line).collect()
}
