//! Sections whose `name` says which settings they have.

use serde::de::DeserializeOwned;

/// Values of a section that has yet to find its type.
pub(crate) trait ReadSection {
    /// The values as settings of type `T`.
    fn read<T: DeserializeOwned + Default>(&mut self) -> T;
}

/// A section that is one of several structs, each with the name that chooses it: `Variant(Struct) = "name"`. Everything that
/// asks which ones there are comes from this one list. What each of them knows about itself is the trait behind `dyn`.
macro_rules! tagged {
    (
        dyn $knowledge:path;
        $(#[$about:meta])*
        pub enum $enum:ident {
            $($(#[$comment:meta])* $variant:ident($settings:ty) = $word:literal,)+
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "name")]
        pub enum $enum {
            $($(#[$comment])* #[serde(rename = $word)] $variant($settings),)+
        }

        $(impl From<$settings> for $enum {
            fn from(settings: $settings) -> Self {
                Self::$variant(settings)
            }
        })+

        impl $enum {
            /// Every one with its defaults, in the order of the list.
            pub fn all() -> Vec<Self> {
                vec![$(Self::$variant(<$settings>::default())),+]
            }

            /// The one of that name, with its defaults.
            pub fn named(name: &str) -> Option<Self> {
                match name {
                    $($word => Some(Self::$variant(<$settings>::default())),)+
                    _ => None,
                }
            }

            /// As written in the section's `name`.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $word),+
                }
            }

            /// The same one with the settings that `section` holds.
            pub(crate) fn read(&self, section: &mut impl $crate::schema::tagged::ReadSection) -> Self {
                match self {
                    $(Self::$variant(_) => Self::$variant(section.read())),+
                }
            }

            /// What it knows about itself.
            #[allow(dead_code, reason = "not every section is changed after it was read")]
            pub(crate) fn settings_mut(&mut self) -> &mut dyn $knowledge {
                match self {
                    $(Self::$variant(settings) => settings),+
                }
            }

            /// What it knows about itself.
            pub(crate) fn settings(&self) -> &dyn $knowledge {
                match self {
                    $(Self::$variant(settings) => settings),+
                }
            }
        }
    };
}

pub(crate) use tagged;
