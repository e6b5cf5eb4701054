//! The types of elements: how safetensors names them, and what numpy calls them in a `.npy` file. Where numpy has no such
//! type, it is what ml_dtypes takes for one: `np.load(f).view(ml_dtypes.bfloat16)`.

use std::fmt;

use ::safetensors::tensor::Dtype;

/// The type of the elements of a tensor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub(super) struct ElementType(pub Dtype);

impl ElementType {
    /// The length of one element, in bits.
    pub fn bits(self) -> u64 {
        self.0.bitsize() as u64
    }

    /// What the first element's place in the file is a multiple of, in bytes.
    pub fn alignment(self) -> u64 {
        (self.bits() / 8).max(1)
    }

    /// Whether several elements share a byte; numpy has the bytes then, without a shape.
    pub fn is_packed(self) -> bool {
        self.bits() < 8
    }

    /// Whether numpy has bytes of no type for it.
    pub fn is_opaque_byte(self) -> bool {
        self.descr() == "|V1"
    }

    /// What numpy calls it: `descr` of the `.npy` format.
    pub fn descr(self) -> &'static str {
        match self.0 {
            Dtype::BOOL => "|b1",
            Dtype::U8 => "|u1",
            Dtype::I8 => "|i1",
            Dtype::U16 => "<u2",
            Dtype::I16 => "<i2",
            Dtype::F16 => "<f2",
            Dtype::BF16 => "<V2",
            Dtype::U32 => "<u4",
            Dtype::I32 => "<i4",
            Dtype::F32 => "<f4",
            Dtype::U64 => "<u8",
            Dtype::I64 => "<i8",
            Dtype::F64 => "<f8",
            Dtype::C64 => "<c8",
            // F8, F6, F4, and what a newer version of the format adds.
            _ => "|V1",
        }
    }

    /// The type of this name, as it stands in a header: `F8_E4M3`.
    pub fn named(name: &str) -> Option<ElementType> {
        serde_json::from_value(serde_json::Value::from(name)).ok().map(ElementType)
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_the_names_of_the_format() {
        for name in ["BOOL", "F4", "F6_E2M3", "F8_E4M3FNUZ", "BF16", "C64", "U64"] {
            assert_eq!(ElementType::named(name).unwrap().to_string(), name);
        }
        assert_eq!(ElementType::named("F99"), None);
        let bf16 = ElementType(Dtype::BF16);
        assert_eq!((bf16.bits(), bf16.alignment(), bf16.descr()), (16, 2, "<V2"));
        let f4 = ElementType(Dtype::F4);
        assert!(f4.is_packed() && f4.is_opaque_byte() && f4.alignment() == 1);
    }
}
