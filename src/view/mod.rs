//! Views: values of a store that are shown as trees (`--view`), each over any store.

#[cfg(feature = "documents")]
mod json;
#[cfg(feature = "safetensors")]
mod tensor;
#[cfg(any(feature = "documents", feature = "safetensors"))]
mod trees;

use std::sync::Arc;

use crate::config::View;
use crate::error::Result;
use crate::store::api::Store;

/// `store`, in which values of this kind are trees; `newline`: whether the files of scalars end in a line end.
///
/// # Errors
/// `Unsupported` where this build has no such view.
pub fn over(view: View, newline: bool, store: Arc<dyn Store>) -> Result<Arc<dyn Store>> {
    match view {
        #[cfg(feature = "documents")]
        View::Json => Ok(Arc::new(trees::Trees::new(store, Arc::new(json::Json { newline })))),
        #[cfg(feature = "safetensors")]
        View::Tensor => Ok(Arc::new(trees::Trees::new(store, Arc::new(tensor::Tensors)))),
        #[cfg(not(all(feature = "documents", feature = "safetensors")))]
        absent => {
            let _ = (newline, store);
            let sentence = format!("this build has no such view: {absent:?}");
            Err(crate::error::Error::new(crate::error::ErrorKind::Unsupported, sentence))
        }
    }
}
