//! Attribute templates.

use cryptoki_sys::*;

/// What an attribute may be given from.
pub trait Value {
    fn to_bytes(&self) -> Vec<u8>;
}

impl Value for bool {
    fn to_bytes(&self) -> Vec<u8> {
        vec![CK_BBOOL::from(*self)]
    }
}

impl Value for CK_ULONG {
    fn to_bytes(&self) -> Vec<u8> {
        self.to_ne_bytes().to_vec()
    }
}

impl Value for &str {
    fn to_bytes(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
}

impl Value for &[u8] {
    fn to_bytes(&self) -> Vec<u8> {
        self.to_vec()
    }
}

impl Value for Vec<u8> {
    fn to_bytes(&self) -> Vec<u8> {
        self.clone()
    }
}

impl<const N: usize> Value for &[u8; N] {
    fn to_bytes(&self) -> Vec<u8> {
        self.to_vec()
    }
}

/// A list of attributes with their values.
#[derive(Clone, Debug, Default)]
pub struct Template(Vec<(CK_ATTRIBUTE_TYPE, Vec<u8>)>);

impl Template {
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the attribute, in place of a value that it has here.
    pub fn set(self, kind: CK_ATTRIBUTE_TYPE, value: impl Value) -> Self {
        self.without(kind).and(kind, value)
    }

    /// Adds the attribute, beside one that may be here already.
    pub fn and(mut self, kind: CK_ATTRIBUTE_TYPE, value: impl Value) -> Self {
        self.0.push((kind, value.to_bytes()));
        self
    }

    pub fn without(mut self, kind: CK_ATTRIBUTE_TYPE) -> Self {
        self.0.retain(|(present, _)| *present != kind);
        self
    }

    /// All of `other` over what is here.
    pub fn with(self, other: &Template) -> Self {
        other.0.iter().fold(self, |template, (kind, value)| {
            template.set(*kind, value.clone())
        })
    }

    pub fn types(&self) -> Vec<CK_ATTRIBUTE_TYPE> {
        self.0.iter().map(|(kind, _)| *kind).collect()
    }

    /// The attributes as C sees them; they point into `self`.
    pub fn attributes(&self) -> Vec<CK_ATTRIBUTE> {
        self.0
            .iter()
            .map(|(kind, value)| CK_ATTRIBUTE {
                type_: *kind,
                pValue: value.as_ptr().cast_mut().cast(),
                ulValueLen: value.len() as CK_ULONG,
            })
            .collect()
    }
}

/// Attributes as the value of one that is a template itself; it points where they point.
pub fn array(attributes: &[CK_ATTRIBUTE]) -> Vec<u8> {
    let bytes = attributes.as_ptr().cast::<u8>();
    unsafe { std::slice::from_raw_parts(bytes, size_of_val(attributes)) }.to_vec()
}
