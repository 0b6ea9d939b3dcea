//! What every room may use. It imports no other room.

pub(crate) mod certificate_path;
pub(crate) mod clock;
pub mod context;
pub mod ending;
pub(crate) mod files;
pub(crate) mod json_limits;
pub(crate) mod json_text;
pub(crate) mod json_writer;
pub(crate) mod object_only;
pub(crate) mod random;
pub(crate) mod reload;
pub mod secret;
pub(crate) mod side_by_side;
pub(crate) mod single_flight;
pub mod text;
pub mod waiting;
