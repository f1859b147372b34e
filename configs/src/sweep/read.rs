//! Studies from files and from words.
//!
//! ```yaml
//! settings: {experiment: supervised_birdsong, trainer.max_epochs: 3}   # of all trials; also a list of words
//! optimize: val/acc                 # else the settings' `optimized_metric`
//! direction: max                    # else by the metric's name; `asha` wants it said
//! stages:                           # or the keys of a single stage right here
//!   - name: lr
//!     grid: {optimizer.lr: [0.1, 0.01], optimizer: "sgd,adamw"}
//!     trial_name: lr{optimizer.lr}_{optimizer.name}
//!   - name: rest
//!     take: {optimizer.lr: lr}      # the best value of that stage, by the mean over seeds; `init_from: run of lr` is a folder
//!     runs: [[method.heads.a.weight=1, method.heads.b.weight=2]]   # settings that belong together
//!     search: {trials: 20, seed: 0, space: {optimizer.weight_decay: "log_uniform(1e-4, 1e-1)"}}
//!     when: {optimizer.momentum: {optimizer: sgd}}
//!     seeds: 3                      # 1, 2 and 3; also a list
//!     asha: {reduction: 4, first: 0.0625}                          # also `true`
//! ```

use std::path::Path;

use super::{Axis, Condition, Halving, Search, Stage, Study, Take, Template, Values};
use crate::builtin::{self, read_file};
use crate::error::{ConfigErrors, Problem};
use crate::node::{Entry, Map, Node, Value};
use crate::overrides::Override;
use crate::read::read;
use crate::schema::MonitorMode;
use crate::source::{Place, Source, SourceKind, printable};
use crate::suggest::choice_hint;

/// The stage of a study that has no others.
pub const ONLY_STAGE: &str = "trials";
/// Most trials of a stage.
pub const MAX_TRIALS: usize = 100_000;
/// Points of a search that does not say how many.
const SEARCH_TRIALS: usize = 16;

const STUDY_KEYS: [&str; 4] = ["settings", "optimize", "direction", "stages"];
const STAGE_KEYS: [&str; 10] =
    ["name", "settings", "grid", "runs", "search", "seeds", "when", "take", "trial_name", "asha"];

impl Study {
    /// Reads the study in the file at `path`.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn read(path: &Path) -> Result<Self, ConfigErrors> {
        let source = read_file(path)?;
        Self::of_source(&source)
    }

    /// The study of that name inside the program.
    ///
    /// # Errors
    /// There is none.
    pub fn builtin(name: &str) -> Result<Self, ConfigErrors> {
        let Some(text) = builtin::study_text(name) else {
            let problem = Problem::new(format!("there is no study `{}`", printable(name, 60)));
            let names = builtin::studies();
            return Err(problem.hint(choice_hint(name, names.iter().map(String::as_str))).into());
        };
        Self::of_text(text, &format!("study/{name}.yaml"))
    }

    /// Reads the text of a study, which messages call `name`.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn of_text(text: &str, name: &str) -> Result<Self, ConfigErrors> {
        let kind = SourceKind::Builtin(name.to_owned());
        Self::of_source(&std::sync::Arc::new(Source { kind, text: text.to_owned() }))
    }

    fn of_source(source: &std::sync::Arc<Source>) -> Result<Self, ConfigErrors> {
        let tree = read(source)?;
        let mut reader = Reader { problems: Vec::new() };
        let study = reader.study(&tree);
        if reader.problems.is_empty() { Ok(study) } else { Err(ConfigErrors::new(reader.problems)) }
    }

    /// One stage of the words of a command line: those with several values vary. `trials` are the points of a search, where
    /// there are ranges of numbers.
    ///
    /// # Errors
    /// All that is wrong with the words.
    pub fn from_words(
        words: &[String],
        trials: Option<usize>,
        search_seed: u64,
    ) -> Result<Self, ConfigErrors> {
        let mut reader = Reader { problems: Vec::new() };
        let (mut settings, mut stage) = (Vec::new(), Stage { name: ONLY_STAGE.into(), ..Stage::default() });
        for (index, word) in words.iter().enumerate() {
            let source = Source { kind: SourceKind::Override(index + 1), text: word.clone() };
            let place = Place::whole(&std::sync::Arc::new(source));
            let varying = word.split_once('=').map(|(key, text)| (key, Values::parse(text)));
            match varying {
                Some((key, Ok(Some(_)))) if key.starts_with(['+', '~']) => {
                    let problem =
                        Problem::new(format!("`{}` both adds a key and varies", printable(word, 60)));
                    let hint = "write `+key=value` for all trials, and `key=a,b` beside it".to_owned();
                    reader.problems.push(problem.at(Some(&place)).hint(hint));
                }
                Some((key, Ok(Some(values)))) => {
                    if stage.varies(key) {
                        let problem = Problem::new(format!("`{key}` varies twice"));
                        reader.problems.push(problem.at(Some(&place)).hint("give all values in one word"));
                    }
                    stage.axes.push(Axis { key: key.to_owned(), values });
                }
                Some((_, Err(message))) => reader.problems.push(Problem::new(message).at(Some(&place))),
                Some((_, Ok(None))) | None => settings.push(word.clone()),
            }
        }
        let draws = stage.axes.iter().any(|axis| axis.values.is_range());
        match (trials, draws) {
            (Some(_), false) => reader.problems.push(
                Problem::new("`--trials` counts the points of a search, and no setting is drawn")
                    .hint("give a range, such as `optimizer.lr=log_uniform(1e-4,1e-1)`"),
            ),
            (_, true) => {
                stage.search = Some(Search { trials: trials.unwrap_or(SEARCH_TRIALS), seed: search_seed });
            }
            (None, false) => {}
        }
        let study = Study { settings, optimize: None, direction: None, stages: vec![stage] };
        reader.check(&study, None);
        if reader.problems.is_empty() { Ok(study) } else { Err(ConfigErrors::new(reader.problems)) }
    }

    /// One stage with a run for each list of words.
    ///
    /// # Errors
    /// What is wrong with the words.
    pub fn from_runs(settings: Vec<String>, runs: &[Vec<String>]) -> Result<Self, ConfigErrors> {
        let mut reader = Reader { problems: Vec::new() };
        let runs = runs.iter().map(|words| reader.words(words, None)).collect();
        let stage = Stage { name: ONLY_STAGE.into(), runs, ..Stage::default() };
        let study = Study { settings, optimize: None, direction: None, stages: vec![stage] };
        if reader.problems.is_empty() { Ok(study) } else { Err(ConfigErrors::new(reader.problems)) }
    }
}

/// Reads on after a mistake, to tell of all.
struct Reader {
    problems: Vec<Problem>,
}

impl Reader {
    fn wrong(&mut self, place: Option<&Place>, message: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(Problem::new(message).at(place).hint(hint));
    }

    fn section<'a>(&mut self, node: &'a Node, what: &str) -> Option<&'a Map> {
        if node.as_map().is_none() {
            self.wrong(
                node.place.as_ref(),
                format!("{what} is {}, not a section", node.describe()),
                "write `key: value`, one a line",
            );
        }
        node.as_map()
    }

    fn known_keys(&mut self, map: &Map, known: &[&str], what: &str) {
        for entry in map.entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let name = printable(&entry.key, 60);
            let hint = choice_hint(&entry.key, known.iter().copied());
            self.wrong(entry.key_place.as_ref(), format!("{what} has no key `{name}`"), hint);
        }
    }

    fn study(&mut self, tree: &Node) -> Study {
        let empty = Map::default();
        let map = self.section(tree, "the study").unwrap_or(&empty);
        let mut study = Study { settings: Vec::new(), optimize: None, direction: None, stages: Vec::new() };
        study.optimize = map.get("optimize").and_then(|node| self.text(node, "`optimize`"));
        study.direction = map.get("direction").and_then(|node| self.direction(node));
        match map.get("stages") {
            Some(node) => {
                self.known_keys(map, &STUDY_KEYS, "a study with stages");
                study.settings = self.settings(map);
                match &node.value {
                    Value::List(items) => {
                        study.stages =
                            items.iter().enumerate().map(|(index, item)| self.stage(item, index)).collect();
                    }
                    _ => self.wrong(
                        node.place.as_ref(),
                        format!("`stages` is {}, not a list", node.describe()),
                        "begin each stage with `- name: ...`",
                    ),
                }
            }
            None => {
                let of_stage = STAGE_KEYS.iter().filter(|key| !["name", "settings"].contains(*key));
                let known: Vec<&str> = STUDY_KEYS.iter().chain(of_stage).copied().collect();
                self.known_keys(map, &known, "a study");
                let mut stage = self.stage_of(map);
                study.settings = std::mem::take(&mut stage.settings);
                stage.name = ONLY_STAGE.into();
                study.stages.push(stage);
            }
        }
        if self.problems.is_empty() {
            self.check(&study, tree.place.as_ref());
        }
        study
    }

    fn stage(&mut self, node: &Node, index: usize) -> Stage {
        let empty = Map::default();
        let map = self.section(node, &format!("stage {}", index + 1)).unwrap_or(&empty);
        self.known_keys(map, &STAGE_KEYS, "a stage");
        let mut stage = self.stage_of(map);
        stage.name = match map.get("name") {
            Some(node) => self.text(node, "`name`").unwrap_or_default(),
            None => format!("stage{}", index + 1),
        };
        let is_word = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
        };
        if !is_word(&stage.name) {
            let place = map.get("name").and_then(|node| node.place.as_ref());
            self.wrong(place, "the name of a stage is not a word", "use letters, digits, `_` and `-`");
        }
        stage
    }

    fn stage_of(&mut self, map: &Map) -> Stage {
        let mut stage = Stage { settings: self.settings(map), ..Stage::default() };
        if let Some(grid) = map.get("grid").and_then(|node| self.section(node, "`grid`")) {
            stage.axes.extend(grid.entries.iter().filter_map(|entry| self.axis(entry)));
        }
        if let Some(node) = map.get("search") {
            self.search(node, &mut stage);
        }
        if let Some(entry) = map.entry("seeds") {
            stage.axes.extend(self.seeds(&entry.node));
        }
        if let Some(node) = map.get("runs") {
            stage.runs = self.runs(node);
        }
        if let Some(take) = map.get("take").and_then(|node| self.section(node, "`take`")) {
            for Entry { key, node, .. } in &take.entries {
                if let Some(from) = self.text(node, "a stage to take from") {
                    let folder = from.strip_prefix("run of ");
                    let (from, folder) = (folder.unwrap_or(&from).trim().to_owned(), folder.is_some());
                    stage.take.push(Take { key: key.clone(), stage: from, folder });
                }
            }
        }
        if let Some(when) = map.get("when").and_then(|node| self.section(node, "`when`")) {
            for entry in &when.entries {
                self.conditions(entry, &mut stage);
            }
        }
        if let Some(node) = map.get("trial_name")
            && let Some(text) = self.text(node, "`trial_name`")
        {
            match Template::parse(&text) {
                Ok(template) => stage.trial_name = Some(template),
                Err(message) => self.wrong(
                    node.place.as_ref(),
                    format!("`trial_name`: {message}"),
                    "write settings in braces, such as `lr{optimizer.lr}[_lambda{method.lambda}]`",
                ),
            }
        }
        if let Some(node) = map.get("asha") {
            stage.halving = self.halving(node);
        }
        stage
    }

    /// A section of dotted keys, or a list of words.
    fn settings(&mut self, map: &Map) -> Vec<String> {
        match map.get("settings") {
            None => Vec::new(),
            Some(Node { value: Value::Map(settings), .. }) => {
                settings.entries.iter().map(|entry| format!("{}={}", entry.key, entry.node.flow())).collect()
            }
            Some(node) => self.list_of_words(node, "`settings`"),
        }
    }

    fn list_of_words(&mut self, node: &Node, what: &str) -> Vec<String> {
        let Value::List(items) = &node.value else {
            let message = format!("{what} is {}, not a list", node.describe());
            self.wrong(node.place.as_ref(), message, "write `[key=value, key=value]`");
            return Vec::new();
        };
        items.iter().filter_map(|item| self.text(item, "a setting")).collect()
    }

    fn axis(&mut self, entry: &Entry) -> Option<Axis> {
        let Entry { key, node, .. } = entry;
        let values = match &node.value {
            Value::List(items) if items.is_empty() => Err(format!("`{key}` has no values")),
            Value::List(items) => Ok(Some(Values::List(items.iter().map(Node::flow).collect()))),
            Value::Scalar(scalar) => Values::parse(&scalar.text),
            Value::Map(_) => Err(format!("`{key}` is a section, not a list of values")),
        };
        match values {
            Ok(values) => {
                let one = || Values::List(vec![node.flow()]);
                Some(Axis { key: key.clone(), values: values.unwrap_or_else(one) })
            }
            Err(message) => {
                let hint = "write `[a, b]`, `range(5)` or, in a search, `log_uniform(1e-4, 1e-1)`";
                self.wrong(node.place.as_ref(), message, hint);
                None
            }
        }
    }

    fn search(&mut self, node: &Node, stage: &mut Stage) {
        let Some(map) = self.section(node, "`search`") else { return };
        self.known_keys(map, &["trials", "seed", "space"], "`search`");
        let trials =
            map.get("trials").map_or(Some(SEARCH_TRIALS as u64), |node| self.whole(node, "`trials`"));
        let seed = map.get("seed").map_or(Some(0), |node| self.whole(node, "`seed`"));
        stage.search = trials.zip(seed).map(|(trials, seed)| Search { trials: trials as usize, seed });
        let space = map.get("space").and_then(|node| self.section(node, "`space`"));
        for entry in space.into_iter().flat_map(|space| &space.entries) {
            stage.axes.extend(self.axis(entry));
        }
        if !stage.axes.iter().any(|axis| axis.values.is_range()) && self.problems.is_empty() {
            self.wrong(
                node.place.as_ref(),
                "`search` has no range of numbers to draw from",
                "write `space: {optimizer.lr: \"log_uniform(1e-4, 1e-1)\"}`, or a `grid`",
            );
        }
    }

    /// `3` is 1, 2 and 3.
    fn seeds(&mut self, node: &Node) -> Option<Axis> {
        let key = "seed".to_owned();
        if let Value::List(_) = node.value {
            return self.axis(&Entry { key, key_place: None, node: node.clone() });
        }
        let count = self.whole(node, "`seeds`")?;
        if count == 0 || count > MAX_TRIALS as u64 {
            self.wrong(
                node.place.as_ref(),
                format!("`seeds` is {count}"),
                "give how many, or a list of them",
            );
            return None;
        }
        Some(Axis { key, values: Values::List((1..=count).map(|seed| seed.to_string()).collect()) })
    }

    fn runs(&mut self, node: &Node) -> Vec<Vec<(String, String)>> {
        let Value::List(items) = &node.value else {
            let message = format!("`runs` is {}, not a list", node.describe());
            self.wrong(node.place.as_ref(), message, "write one list of settings for each run");
            return Vec::new();
        };
        items
            .iter()
            .map(|item| match &item.value {
                Value::Map(map) => {
                    map.entries.iter().map(|entry| (entry.key.clone(), entry.node.flow())).collect()
                }
                _ => {
                    let words = self.list_of_words(item, "a run");
                    self.words(&words, item.place.as_ref())
                }
            })
            .collect()
    }

    /// Keys and values of words.
    fn words(&mut self, words: &[String], place: Option<&Place>) -> Vec<(String, String)> {
        let mut values = Vec::new();
        for (index, word) in words.iter().enumerate() {
            match (Override::parse(index + 1, word), word.split_once('=')) {
                (Ok(_), Some((key, value))) => values.push((key.to_owned(), value.to_owned())),
                (Ok(_), None) => self.wrong(
                    place,
                    format!("`{}` has no value", printable(word, 60)),
                    "what a run has of its own is written `key=value`",
                ),
                (Err(problem), _) => self.problems.push(problem.at(place)),
            }
        }
        values
    }

    fn conditions(&mut self, entry: &Entry, stage: &mut Stage) {
        let Some(on) = self.section(&entry.node, &format!("`when: {}`", entry.key)) else { return };
        for Entry { key, node, .. } in &on.entries {
            let values = match &node.value {
                Value::List(items) => items.iter().map(Node::flow).collect(),
                _ => vec![node.flow()],
            };
            stage.conditions.push(Condition { key: entry.key.clone(), on: key.clone(), values });
        }
    }

    fn halving(&mut self, node: &Node) -> Option<Halving> {
        match node.as_text() {
            Some("true") => return Some(Halving::default()),
            Some("false") => return None,
            _ => {}
        }
        let map = self.section(node, "`asha`")?;
        self.known_keys(map, &["reduction", "first"], "`asha`");
        let mut halving = Halving::default();
        if let Some(node) = map.get("reduction") {
            let reduction = self.whole(node, "`reduction`")?;
            if !(2..=64).contains(&reduction) {
                self.wrong(
                    node.place.as_ref(),
                    format!("`reduction` is {reduction}"),
                    "give a number from 2 to 64",
                );
            }
            halving.reduction = reduction.clamp(2, 64) as u32;
        }
        if let Some(node) = map.get("first") {
            let first = node.as_text().and_then(|text| text.parse::<f64>().ok());
            match first.filter(|first| (1e-4..1.0).contains(first)) {
                Some(first) => halving.first = first,
                None => self.wrong(
                    node.place.as_ref(),
                    format!("`first` is {}", node.describe()),
                    "give the first rung as a part of the full length, such as 0.0625",
                ),
            }
        }
        Some(halving)
    }

    fn direction(&mut self, node: &Node) -> Option<MonitorMode> {
        let found = [MonitorMode::Max, MonitorMode::Min]
            .into_iter()
            .find(|mode| node.as_text() == Some(mode.as_str()));
        if found.is_none() {
            self.wrong(
                node.place.as_ref(),
                format!("`direction` is {}", node.describe()),
                "write `max` or `min`",
            );
        }
        found
    }

    fn text(&mut self, node: &Node, what: &str) -> Option<String> {
        match node.as_text() {
            Some(text) => Some(text.to_owned()),
            None => {
                self.wrong(
                    node.place.as_ref(),
                    format!("{what} is {}, not a word", node.describe()),
                    "put text with signs in quotes",
                );
                None
            }
        }
    }

    fn whole(&mut self, node: &Node, what: &str) -> Option<u64> {
        let number = node.as_text().and_then(|text| text.parse().ok());
        if number.is_none() {
            let message = format!("{what} is {}, not a whole number", node.describe());
            self.wrong(node.place.as_ref(), message, "write digits alone");
        }
        number
    }

    /// What stages say of themselves and of each other.
    fn check(&mut self, study: &Study, place: Option<&Place>) {
        if study.stages.is_empty() {
            self.wrong(place, "the study has no stage", "begin one with `- name: ...` below `stages:`");
        }
        for (index, stage) in study.stages.iter().enumerate() {
            let earlier = study.stages.get(..index).unwrap_or_default();
            let name = &stage.name;
            if earlier.iter().any(|other| other.name == *name) {
                self.wrong(place, format!("two stages are called `{name}`"), "give each a name of its own");
            }
            for Take { key, stage: from, folder } in &stage.take {
                match earlier.iter().find(|other| other.name == *from) {
                    None => self.wrong(
                        place,
                        format!("stage `{name}` takes `{key}` of `{from}`, which is no earlier stage"),
                        choice_hint(from, earlier.iter().map(|stage| stage.name.as_str())),
                    ),
                    Some(other) if !folder && !other.varies(key) => self.wrong(
                        place,
                        format!("stage `{name}` takes `{key}` of `{from}`, where it does not vary"),
                        "take a setting of its `grid`, `search` or `runs`",
                    ),
                    Some(_) if stage.varies(key) => self.wrong(
                        place,
                        format!("stage `{name}` both varies `{key}` and takes it"),
                        "leave one of the two out",
                    ),
                    Some(_) => {}
                }
            }
            self.check_stage(stage, place);
        }
    }

    fn check_stage(&mut self, stage: &Stage, place: Option<&Place>) {
        let name = &stage.name;
        let keys: Vec<&str> = stage.axes.iter().map(|axis| axis.key.as_str()).collect();
        for (index, key) in keys.iter().enumerate() {
            let in_runs = stage.runs.iter().flatten().any(|(known, _)| known == key);
            if in_runs || keys.iter().take(index).any(|other| other == key) {
                self.wrong(
                    place,
                    format!("`{key}` varies in two places of stage `{name}`"),
                    "give all of its values in one of them",
                );
            }
        }
        for condition in &stage.conditions {
            for key in [&condition.key, &condition.on] {
                if !stage.varies(key) {
                    self.wrong(
                        place,
                        format!("a condition of stage `{name}` names `{key}`, which does not vary"),
                        choice_hint(key, keys.iter().copied()),
                    );
                }
            }
            let values = stage.axes.iter().find(|axis| axis.key == condition.on).map(|axis| &axis.values);
            if let Some(Values::List(values)) = values {
                for value in condition.values.iter().filter(|value| !values.contains(value)) {
                    self.wrong(
                        place,
                        format!("a condition of stage `{name}`: `{}` is never `{value}`", condition.on),
                        choice_hint(value, values.iter().map(String::as_str)),
                    );
                }
            }
        }
        if stage.search.is_none()
            && let Some(axis) = stage.axes.iter().find(|axis| axis.values.is_range())
        {
            let message = format!("`{}` of stage `{name}` is drawn, and there is no search", axis.key);
            self.wrong(place, message, "move it into `search: {trials: N, space: ...}`");
        }
        if stage.search.is_some_and(|search| search.trials == 0) {
            self.wrong(
                place,
                format!("the search of stage `{name}` has no trials"),
                "give `trials`, from 1 on",
            );
        }
        if stage.most().is_none_or(|most| most > MAX_TRIALS) {
            self.wrong(
                place,
                format!("stage `{name}` has more than {MAX_TRIALS} trials"),
                "leave values out, or let a `search` choose among them",
            );
        }
    }
}

#[cfg(test)]
mod tests;
