//! Limits: constants that list themselves, so that `docs/limits.md` is complete.

use std::fmt;

/// One limit, as listed in the documentation.
#[derive(Clone, Copy)]
pub struct Bound {
    /// Name of the constant.
    pub name: &'static str,
    /// Its doc comment.
    pub text: &'static str,
    /// Its value.
    pub value: &'static (dyn fmt::Debug + Sync),
}

/// Declares public constants and `BOUNDS`, which lists them with their doc comments.
///
/// ```
/// grapnel_values::bounds! {
///     /// Longest name, in characters.
///     pub const NAME_CHARS: usize = 253;
/// }
/// assert_eq!(NAME_CHARS, 253);
/// assert_eq!((BOUNDS[0].name, BOUNDS[0].text), ("NAME_CHARS", " Longest name, in characters."));
/// ```
#[macro_export]
macro_rules! bounds {
    ($($(#[doc = $text:literal])+ pub const $name:ident: $type:ty = $value:expr;)+) => {
        $($(#[doc = $text])+ pub const $name: $type = $value;)+

        /// Every limit of this module, in order of declaration.
        pub const BOUNDS: &[$crate::bounds::Bound] = &[
            $($crate::bounds::Bound { name: stringify!($name), text: concat!($($text),+), value: &$name }),+
        ];
    };
}
