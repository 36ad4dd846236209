//! What a test asks of an API server, by the paths of its API.

use serde_json::Value;

use super::Cluster;

/// Who owns the fields that a test sets.
const OWNER: &str = "fieldManager=test&force=true";

impl Cluster {
    /// Asks; gives back the answer. A body goes as JSON.
    ///
    /// # Errors
    /// If nobody answers, or the API server refuses: why.
    pub async fn ask(&self, method: &str, path: &str, body: Option<(&str, Value)>) -> Result<Value, String> {
        let mut request = hyper::Request::builder().method(method).uri(path);
        if let Some((kind, _)) = &body {
            request = request.header("content-type", *kind);
        }
        let bytes = body.map(|(_, body)| body.to_string().into_bytes()).unwrap_or_default();
        let request = request.body(bytes).map_err(|error| error.to_string())?;
        let text = self.client.request_text(request).await.map_err(|error| error.to_string())?;
        // Some answers, as that of `/readyz`, are plain text.
        Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Whether there is such an object.
    pub async fn exists(&self, path: &str) -> bool {
        self.ask("GET", path, None).await.is_ok()
    }

    /// Makes an object, or changes it: a server-side apply.
    ///
    /// # Panics
    /// If the API server refuses.
    pub async fn apply(&self, path: &str, object: Value) {
        // JSON is YAML.
        let asked = self.ask("PATCH", &format!("{path}?{OWNER}"), Some(("application/apply-patch+yaml", object))).await;
        asked.unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// Changes some fields of an object.
    ///
    /// # Panics
    /// If the API server refuses.
    pub async fn merge(&self, path: &str, fields: Value) {
        let asked = self.ask("PATCH", path, Some(("application/merge-patch+json", fields))).await;
        asked.unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// Deletes an object.
    ///
    /// # Panics
    /// If the API server refuses.
    pub async fn delete(&self, path: &str) {
        let asked = self.ask("DELETE", path, None).await;
        asked.unwrap_or_else(|error| panic!("{path}: {error}"));
    }
}
