mod settings;
pub use settings::{Delivery, Settings, Thumbnail, ThumbnailFormat};
