//! The comments of the schema, as the build script found them in its sources (`build/comments.rs`).

/// A section, or what stands within a list or under a name.
#[derive(Debug)]
pub(super) struct Struct {
    pub name: &'static str,
    pub fields: &'static [Field],
}

/// A setting, or a section within a section.
#[derive(Debug)]
pub(super) struct Field {
    /// As it is written.
    pub key: &'static str,
    pub form: Form,
    /// Name of the type that `form` is around.
    pub of: &'static str,
    /// Its own keys stand in the section that it is a field of.
    pub is_flat: bool,
    pub comment: &'static str,
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    One,
    Optional,
    Auto,
    List,
    /// One, or a list of them.
    Several,
    OptionalList,
    Pair,
    OptionalPair,
    OptionalAuto,
    /// By names of the user's.
    Named,
}

/// Choices.
#[derive(Debug)]
pub(super) struct Enum {
    pub name: &'static str,
    pub variants: &'static [Variant],
}

/// One of them.
#[derive(Debug)]
pub(super) struct Variant {
    pub word: &'static str,
    /// The section that it makes of its own, where the choice is that of a section's keys.
    pub section: Option<&'static str>,
    pub comment: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/comments.rs"));

/// The struct of that name.
pub(super) fn section(name: &str) -> Option<&'static Struct> {
    STRUCTS.iter().find(|one| one.name == name)
}

/// The variants of the enum of that name; none where it is no enum.
pub(super) fn choices(name: &str) -> &'static [Variant] {
    ENUMS.iter().find(|one| one.name == name).map_or(&[], |found| found.variants)
}
