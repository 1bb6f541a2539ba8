pub mod boxes;
pub mod echo;
pub mod faces;
mod instances;
pub mod motion;
mod opencv_error;
pub mod people;
pub mod picture;
pub mod resize;
