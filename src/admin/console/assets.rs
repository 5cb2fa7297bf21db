//! Static files, whose paths contain their digest: browsers keep them, and a new version has new paths.

use std::sync::LazyLock;

use axum::{
    extract::Path,
    http::header,
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};

use super::layout;
use crate::admin::response::Problem;

/// The route of static files.
pub(super) const ROUTE: &str = "/console/assets/{file}";

/// A static file.
pub(super) struct Asset {
    file: String,
    content_type: &'static str,
    bytes: &'static [u8],
}

impl Asset {
    fn new(stem: &str, extension: &str, content_type: &'static str, bytes: &'static [u8]) -> Self {
        let digest = hex::encode(Sha256::digest(bytes));
        let digest = digest.get(..16).unwrap_or_default();
        Self { file: format!("{stem}.{digest}.{extension}"), content_type, bytes }
    }

    /// Where it is.
    pub(super) fn path(&self) -> String {
        format!("/console/assets/{}", self.file)
    }
}

/// The style sheet.
pub(super) static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("console", "css", "text/css; charset=utf-8", include_bytes!("assets/console.css")));

/// The script.
pub(super) static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("console", "js", "text/javascript; charset=utf-8", include_bytes!("assets/console.js"))
});

/// The icon.
pub(super) static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon", "svg", "image/svg+xml", include_bytes!("assets/icon.svg")));

/// `GET /console/assets/{file}`
pub(super) async fn show(Path(file): Path<String>) -> Response {
    let Some(asset) = [&STYLE, &SCRIPT, &ICON].into_iter().find(|asset| asset.file == file) else {
        return layout::problem(&Problem::not_found("there is no such file"), layout::Home::default());
    };
    let mut response = asset.bytes.into_response();
    layout::protect(response.headers_mut());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(asset.content_type));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("public, max-age=31536000, immutable"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_the_digest_of_its_file() {
        let one = Asset::new("a", "css", "text/css", b"one").file;
        assert_eq!(one, "a.7692c3ad3540bb80.css");
        assert_ne!(one, Asset::new("a", "css", "text/css", b"two").file);
    }

    #[test]
    fn the_files_name_no_other_origin() {
        for asset in [&STYLE, &SCRIPT, &ICON] {
            let text = std::str::from_utf8(asset.bytes).unwrap().replace("http://www.w3.org/2000/svg", "");
            assert!(!text.contains("//") || !text.contains("http"), "{}", asset.file);
            assert!(!text.contains("innerHTML") && !text.contains("eval("), "{}", asset.file);
        }
    }
}
