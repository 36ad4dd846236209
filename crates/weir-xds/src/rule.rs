//! What the rules of a message can say. The build script compiles this file too, and writes down its constants as these types print
//! themselves. They hold no address, as the rest of the tables.

/// Where a name stands in the text of all names.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Name {
    pub at: u32,
    pub length: u16,
}

/// A part of a table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Span {
    pub from: u16,
    pub to: u16,
}

/// What is said of a field.
#[derive(Debug, PartialEq)]
pub(crate) struct FieldRules {
    /// Whether it must be set.
    pub required: bool,
    /// Whether what it holds is left unchecked.
    pub skip: bool,
    pub rule: Rule,
}

/// What a value must be. These are the rules that Envoy's messages have, of the many that there could be: with another the crate is
/// not built.
#[derive(Debug, PartialEq)]
pub(crate) enum Rule {
    Anything,
    Integer(Bounds<i64>),
    /// In nanoseconds.
    Duration(Bounds<i64>),
    Float(Bounds<f64>),
    Bool(bool),
    Text(TextRule),
    /// One of these values, where the first says so, but none of those that are refused.
    Enum(bool, Span),
    /// So many items, each another where the second says so, and each like what is said in this place.
    List(Counts, bool, u16),
    /// So many entries, with keys like what is said in this place.
    Map(Counts, u16),
}

/// A number that must be within bounds.
#[derive(Debug, PartialEq)]
pub(crate) struct Bounds<N> {
    pub less: Option<N>,
    pub at_most: Option<N>,
    pub greater: Option<N>,
    pub at_least: Option<N>,
}

/// From how many to how many.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Counts {
    pub least: Option<u32>,
    pub most: Option<u32>,
}

/// What a text, or bytes, must be.
#[derive(Debug, PartialEq)]
pub(crate) struct TextRule {
    /// Of bytes, how many bytes.
    pub characters: Counts,
    pub most_bytes: Option<u32>,
    pub prefix: Name,
    pub suffix: Name,
    /// Nothing stands for any.
    pub one_of: Span,
    pub form: Option<Form>,
    /// Whether none at all is as good.
    pub may_be_empty: bool,
}

/// What a text is for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Form {
    HeaderName,
    HeaderValue,
    /// Either, where only the end of a line is forbidden.
    OneLine,
}

/// A value of an enum.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EnumValue {
    pub number: i32,
    pub name: Name,
    pub refused: bool,
}

/// Alternatives of which one must be set.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Choice {
    pub name: Name,
    /// As in the fields that are its alternatives.
    pub oneof: u8,
}
