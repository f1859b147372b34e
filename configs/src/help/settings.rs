//! All settings in the order of the schema, each with its comment, its choices and its defaults.

use super::comments::{Field, Form, Variant, choices, section};
use crate::node::{Node, split_key};
use crate::reference::{is_open, open_entry, reference, tag_names};

/// The type of everything that a run is told.
const ROOT: &str = "RunConfig";
/// Where a user's own name stands in a key.
pub(super) const NAME: &str = "NAME";

/// A setting, or a section.
#[derive(Debug)]
pub(super) struct Setting {
    /// Dotted; `NAME` is a name of the user's, and `[]` behind a list stands for each of its elements.
    pub key: String,
    pub comment: String,
    pub what: What,
}

#[derive(Debug)]
pub(super) enum What {
    /// Has keys below it.
    Section,
    Value(Value),
}

#[derive(Debug)]
pub(super) struct Value {
    pub form: Form,
    pub of: &'static str,
    /// One entry where all have the same, or where the section has no name; else by the names that have the setting.
    pub defaults: Vec<Default>,
}

/// The default where the section has one of these names; none: always.
#[derive(Debug)]
pub(super) struct Default {
    pub names: Vec<&'static str>,
    pub value: String,
}

impl Value {
    pub fn choices(&self) -> &'static [Variant] {
        choices(self.of)
    }
}

/// All settings.
#[derive(Debug)]
pub(super) struct Settings {
    pub all: Vec<Setting>,
}

impl Settings {
    pub fn collect() -> Self {
        let mut settings = Self { all: Vec::new() };
        settings.add_fields(ROOT, "", &reference(|_| ""), &[]);
        settings
    }

    /// The sections that a run consists of.
    pub fn sections(&self) -> impl Iterator<Item = &Setting> {
        self.all.iter().filter(|setting| matches!(setting.what, What::Section) && !setting.key.contains('.'))
    }

    /// The setting or section of that name.
    pub fn find(&self, key: &str) -> Option<&Setting> {
        self.all.iter().find(|setting| matches(&setting.key, key))
    }

    /// What is in a section, sections within it included.
    pub fn below<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Setting> {
        self.all.iter().filter(move |setting| {
            setting.key.strip_prefix(key).is_some_and(|rest| rest.starts_with(['.', '[']))
        })
    }

    /// The fields of a struct below `prefix`. `defaults` is the struct with its defaults, and `names` says which choices of
    /// the section have it.
    fn add_fields(&mut self, name: &str, prefix: &str, defaults: &Node, names: &[&'static str]) {
        for field in section(name).map_or(&[][..], |found| found.fields) {
            if field.is_flat {
                self.add_tagged(field, prefix);
                continue;
            }
            let dot = if prefix.is_empty() { "" } else { "." };
            let key = format!("{prefix}{dot}{}", field.key);
            self.add_field(field, key, defaults.get(&[field.key]), names);
        }
    }

    fn add_field(&mut self, field: &Field, key: String, default: Option<&Node>, names: &[&'static str]) {
        let tagged = choices(field.of).iter().any(|variant| variant.section.is_some());
        let is_section = section(field.of).is_some() && matches!(field.form, Form::One | Form::Optional);
        if tagged {
            self.add_section(&key, field.comment);
            return self.add_tagged(field, &key);
        }
        if is_section {
            self.add_section(&key, field.comment);
            let default = default.cloned().unwrap_or_else(Node::null);
            return self.add_fields(field.of, &key, &default, names);
        }
        let shown = default.map_or_else(|| "null".to_owned(), Node::brief);
        self.add_value(field, &key, shown, names);
        match field.form {
            Form::Named if is_open(&key) => {
                self.add_fields(field.of, &format!("{key}.{NAME}"), &open_entry(&key), names);
            }
            Form::List if section(field.of).is_some() => {
                let entry = crate::reference::list_entry(&key);
                self.add_fields(field.of, &format!("{key}[]"), &entry, names);
            }
            _ => {}
        }
    }

    /// A section whose `name` says which keys it has.
    fn add_tagged(&mut self, field: &Field, key: &str) {
        let name = Field {
            key: "name",
            form: Form::One,
            of: field.of,
            is_flat: false,
            comment: "Which one; the name of the group chooses it, with the file of its settings.",
        };
        let usual = reference(|_| "").get(&[key, "name"]).map_or_else(String::new, Node::brief);
        self.add_value(&name, &format!("{key}.name"), usual, &[]);
        for word in tag_names(key) {
            let variant = choices(field.of).iter().find(|variant| variant.word == word);
            let Some(of) = variant.and_then(|variant| variant.section) else { continue };
            let known = reference(|_| word);
            if let Some(defaults) = known.get(&split_key(key)) {
                self.add_fields(of, key, defaults, &[word]);
            }
        }
    }

    fn add_section(&mut self, key: &str, comment: &str) {
        if !self.all.iter().any(|setting| setting.key == key) {
            self.all.push(Setting { key: key.to_owned(), comment: comment.to_owned(), what: What::Section });
        }
    }

    fn add_value(&mut self, field: &Field, key: &str, default: String, names: &[&'static str]) {
        let default = Default { names: names.to_vec(), value: default };
        match self.all.iter_mut().find(|setting| setting.key == key) {
            Some(Setting { what: What::Value(value), comment, .. }) => {
                if !comment.contains(field.comment) {
                    comment.push('\n');
                    comment.push_str(field.comment);
                }
                match value.defaults.iter_mut().find(|other| other.value == default.value) {
                    Some(other) => other.names.extend(default.names),
                    None => value.defaults.push(default),
                }
            }
            Some(_) => {}
            None => self.all.push(Setting {
                key: key.to_owned(),
                comment: field.comment.to_owned(),
                what: What::Value(Value { form: field.form, of: field.of, defaults: vec![default] }),
            }),
        }
    }
}

/// Whether `typed` names the setting `key`: `data.splits.mine.by` is `data.splits.NAME.by`, `phases.list[0].steps` is
/// `phases.list[].steps`.
pub(super) fn matches(key: &str, typed: &str) -> bool {
    let mut words = typed.split('.');
    let alike = key.split('.').all(|part| {
        words.next().is_some_and(|word| {
            let without_index = word.split('[').next().unwrap_or(word);
            match part.strip_suffix("[]") {
                Some(list) => word.ends_with(']') && without_index == list,
                None => word == part || (part == NAME && !word.is_empty()),
            }
        })
    });
    alike && words.next().is_none()
}
