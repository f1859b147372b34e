//! Checks of `eval.banks`.

use crate::checks::Checks;
use crate::schema::{BankConfig, RunConfig};

const BANKS: &str = "eval.banks";

pub(super) fn check(config: &RunConfig, checks: &mut Checks) {
    let banks = &config.eval.banks;
    checks.require(
        banks.is_empty() || config.eval.embeddings,
        [BANKS, "eval.embeddings"],
        || "`eval.banks` are probed by their embeddings, but `eval.embeddings` is false".into(),
        "evaluate embeddings too: `eval.embeddings=true`",
    );
    for (name, bank) in banks {
        check_bank(name, bank, config, checks);
    }
}

fn check_bank(name: &str, bank: &BankConfig, config: &RunConfig, checks: &mut Checks) {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    checks.require(
        !name.is_empty() && name.chars().all(is_plain),
        [BANKS],
        || format!("`eval.banks` has a bank `{name}`, whose metrics could not be named by it"),
        "name it by letters, digits, `_` and `-`",
    );
    checks.require(
        bank.root.is_some() || bank.generate.is_some(),
        [BANKS],
        || format!("the bank `{name}` has no data: `eval.banks.{name}.root` is `null`"),
        "give the folder with its data: `+eval.banks.NAME.root=PATH`",
    );
    let made = bank.generate.as_ref().filter(|_| bank.root.is_none()).map(|generate| generate.kind.makes());
    checks.require(
        made.is_none_or(|kind| kind == config.data.kind),
        [BANKS, "data.kind"],
        || format!("`eval.banks.{name}.generate` makes other data than the run learns from (`data.kind`)"),
        "a bank is seen by the same network: `birdsong` and `spoken-digits` make sound, the others images",
    );
    for (key, word) in [("target", &bank.target), ("recording", &bank.recording)] {
        checks.require(
            word.as_ref().is_none_or(|word| !word.trim().is_empty()),
            [BANKS],
            || format!("`eval.banks.{name}.{key}` is empty"),
            None,
        );
    }
    checks.require(
        !bank.same_by.is_empty(),
        [BANKS],
        || format!("`eval.banks.{name}.same_by` is empty, so that the bank may hold what is trained on"),
        "`[content]` compares files by their bytes, whatever recordings are called",
    );
    for fraction in bank.split.iter().flat_map(|split| [split.test_fraction, split.val_fraction]) {
        checks.require(
            (0.0..1.0).contains(&fraction),
            [BANKS],
            || format!("the bank `{name}` is split by a fraction of {fraction}, which must be at least 0 and below 1"),
            None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{GenerateConfig, GeneratorKind};

    fn messages(change: impl FnOnce(&mut RunConfig)) -> Vec<String> {
        super::super::messages(check, change)
    }

    #[test]
    fn a_bank_has_a_name_data_of_the_run_s_kind_and_embeddings() {
        let with = |name: &str, bank: BankConfig| {
            messages(|config| {
                config.eval.banks.insert(name.to_owned(), bank);
            })
        };
        let there = BankConfig { root: Some("there".into()), ..BankConfig::default() };
        assert_eq!(with("birds2", there.clone()), Vec::<String>::new());
        let named = with("a/b", there.clone());
        assert_eq!(named, ["`eval.banks` has a bank `a/b`, whose metrics could not be named by it"]);
        assert_eq!(
            with("b", BankConfig::default()),
            ["the bank `b` has no data: `eval.banks.b.root` is `null`"]
        );
        let generate = GenerateConfig { kind: GeneratorKind::Digits, ..GenerateConfig::default() };
        let images = with("b", BankConfig { generate: Some(generate), ..BankConfig::default() });
        assert_eq!(
            images,
            ["`eval.banks.b.generate` makes other data than the run learns from (`data.kind`)"]
        );
        let nothing = with("b", BankConfig { same_by: Vec::new(), ..there.clone() });
        assert!(nothing[0].starts_with("`eval.banks.b.same_by` is empty"), "{nothing:?}");
        let off = messages(|config| {
            config.eval.embeddings = false;
            config.eval.banks.insert("b".into(), there);
        });
        assert_eq!(off, ["`eval.banks` are probed by their embeddings, but `eval.embeddings` is false"]);
    }
}
