//! Enums whose variants are words of the contract: each word is spelt once, for JSON, its schema, labels and text.

/// Makes such an enum, with `ALL` in the order of its variants, and `as_str`.
macro_rules! words {
    ($(#[$about:meta])* $visible:vis enum $name:ident { $($(#[$means:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        $visible enum $name {
            $($(#[$means])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$variant),+];

            /// The word of the contract.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }
    };
}
