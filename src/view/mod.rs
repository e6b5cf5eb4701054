//! Views: values of a store that are shown as trees (`--view`), each over any store.

#[cfg(feature = "safetensors")]
pub mod tensor;

use std::sync::Arc;

use crate::config::View;
use crate::error::Result;
use crate::store::api::Store;

/// `store`, in which values of this kind are trees.
///
/// # Errors
/// `Unsupported` where this build has no such view.
pub fn over(view: View, store: Arc<dyn Store>) -> Result<Arc<dyn Store>> {
    match view {
        #[cfg(feature = "safetensors")]
        View::Tensor => Ok(Arc::new(tensor::TensorView::new(store))),
        #[cfg(not(feature = "safetensors"))]
        View::Tensor => {
            let _ = store;
            let sentence = "this build has no tensors: leave out --view tensor";
            Err(crate::error::Error::new(crate::error::ErrorKind::Unsupported, sentence))
        }
    }
}
