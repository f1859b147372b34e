//! What an audit is asked for by name, checked before the first step.

use dtrain_configs::{Origins, RunConfig, choice_hint};
use dtrain_data::{Dataset, LabelColumn, Views};

use crate::error::TrainError;
use crate::eval::audit_columns;

/// Refuses columns that there are not, and those of which every part has one value. What is measured has values once it has
/// been measured.
///
/// # Errors
/// Names the column and those there are.
pub(super) fn check(
    config: &RunConfig,
    origins: &Origins,
    dataset: &Dataset,
    maker: &dyn Views,
) -> Result<(), TrainError> {
    let audit = &config.eval.audit;
    if !audit.enabled {
        return Ok(());
    }
    let known = audit_columns(dataset, maker);
    let snippet = || origins.snippet("eval.audit.columns");
    for name in &audit.columns {
        if !known.contains(name) {
            return Err(TrainError::config(
                format!(
                    "`eval.audit.columns` names `{name}`, which is neither a column of `{}` nor measured{}",
                    dataset.name,
                    snippet()
                ),
                choice_hint(name, known.iter().map(String::as_str)),
            ));
        }
        let column = dataset.labels.iter().chain(&dataset.set_aside).find(|label| label.name == *name);
        if column.is_some_and(|column| has_one_value(column, dataset)) {
            return Err(TrainError::config(
                format!(
                    "`eval.audit.columns` names `{name}`, of which no part has more than one value, so that there is nothing to \
                     know{}",
                    snippet()
                ),
                format!(
                    "choose among {}",
                    known.iter().filter(|other| *other != name).cloned().collect::<Vec<_>>().join(", ")
                ),
            ));
        }
    }
    Ok(())
}

fn has_one_value(column: &LabelColumn, dataset: &Dataset) -> bool {
    let values = |ids: &[u32]| column.counts(ids).iter().filter(|&&count| count > 0).count();
    dataset.parts().all(|(_, ids)| values(ids) < 2)
}

#[cfg(test)]
mod tests {
    use dtrain_data::{LabelAccess, synth};

    use super::super::view_maker;
    use super::*;

    #[test]
    fn columns_are_asked_for_by_names_that_there_are_and_that_tell_something() {
        let dir = tempfile::tempdir().unwrap();
        synth::ensure(synth::RecordingSetKind::Birdsong, 0, 0.1, dir.path()).unwrap();
        let words = ["data=birdsong".to_owned(), "data.labels.columns=[species, recording]".to_owned()];
        let mut config = dtrain_configs::compose(&words, &Default::default()).unwrap().config;
        let dataset = Dataset::open(&config.data, dir.path(), LabelAccess::All).unwrap();
        let set_aside: Vec<&str> = dataset.set_aside.iter().map(|label| label.name.as_str()).collect();
        assert_eq!(set_aside, ["split", "hum_hz", "tilt_db", "song_snr_db", "level_db"]);
        let maker = view_maker(&config, &dataset).unwrap();
        let mut refused = |columns: &[&str]| {
            config.eval.audit.columns = columns.iter().map(|&column| column.to_owned()).collect();
            check(&config, &Origins::default(), &dataset, &*maker).err().map(|error| error.to_string())
        };
        assert_eq!(refused(&["gain_bd"]), None, "nobody audits");
        config.eval.audit.enabled = true;
        let mut refused = |columns: &[&str]| {
            config.eval.audit.columns = columns.iter().map(|&column| column.to_owned()).collect();
            check(&config, &Origins::default(), &dataset, &*maker).err().map(|error| error.to_string())
        };
        assert_eq!(refused(&[]), None);
        assert_eq!(refused(&["species", "recording", "gain_db", "length_secs"]), None);
        let unknown = refused(&["gain_db", "gain_bd"]).unwrap();
        assert!(
            unknown.contains("`eval.audit.columns` names `gain_bd`, which is neither a column of"),
            "{unknown}"
        );
        // Each part has its own value of the column that names it.
        let alone = refused(&["split"]).unwrap();
        assert!(alone.contains("names `split`, of which no part has more than one value"), "{alone}");
    }
}
