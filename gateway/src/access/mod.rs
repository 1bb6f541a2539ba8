//! Who may see what: tokens, origins, host names.

mod origin;
mod tokens;

pub use origin::{Asker, Origins};
pub use tokens::{Pass, RegistryRight, TokenFile};
