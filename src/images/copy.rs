//! A readable copy of an image outside the store, for work in an editor.

use super::{ImageError, Images};
use crate::store::Image;
use std::path::Path;

impl Images {
    /// Leaves a copy in `folder`, named `{prefix}-{model}-{id}.{ext}`, whole or not at all.
    ///
    /// # Errors
    /// The image cannot be read, or the folder cannot be written.
    pub async fn copy_to(
        &self,
        folder: &Path,
        prefix: Option<&str>,
        model: &str,
        image: &Image,
    ) -> Result<(), ImageError> {
        let bytes = self.full(image).await?;
        let ext = plugin_api::Mime::parse(&image.mime).map_or("img", plugin_api::Mime::extension);
        let name = format!("{}-{}-{}.{ext}", plain(prefix.unwrap_or("img")), plain(model), image.id);
        let (folder, whole) = (folder.to_owned(), folder.join(&name));
        let write = move || -> std::io::Result<()> {
            std::fs::create_dir_all(&folder)?;
            let part = folder.join(format!(".{name}.part"));
            std::fs::write(&part, &bytes)?;
            std::fs::rename(&part, &whole)
        };
        let done = tokio::task::spawn_blocking(write).await;
        done.map_err(|e| ImageError::Storage(e.to_string()))?.map_err(|e| ImageError::Storage(e.to_string()))
    }
}

/// Safe in a file name on every system.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_alphanumeric() || matches!(c, '_' | '.') { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_vendor_model_is_a_plain_name() {
        assert_eq!(super::plain("workers-ai/@cf/x:y"), "workers_ai__cf_x_y");
    }
}
