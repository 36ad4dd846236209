//! What a test asks of an API server, by the paths of its API.

use http_body_util::BodyExt;
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

    /// Makes an object, or only tries whether it could be made; gives back what the API server has made of it, and the warnings that come with
    /// that.
    ///
    /// # Errors
    /// If nobody answers, or the API server refuses: why.
    pub async fn create(&self, path: &str, object: &Value) -> Result<(Value, Vec<String>), String> {
        let request = hyper::Request::post(path).header("content-type", "application/json").body(object.to_string().into_bytes().into());
        let request = request.map_err(|error| error.to_string())?;
        let response = self.client.send(request).await.map_err(|error| error.to_string())?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
        let answer: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        if !head.status.is_success() {
            return Err(answer["message"].as_str().unwrap_or_default().to_owned());
        }
        let warnings = head.headers.get_all("warning").iter();
        Ok((answer, warnings.map(|warning| String::from_utf8_lossy(warning.as_bytes()).into_owned()).collect()))
    }

    /// Whether there is such an object.
    ///
    /// # Panics
    /// If the API server says neither: a test that takes that for a no finds nothing wrong.
    pub async fn exists(&self, path: &str) -> bool {
        let request = hyper::Request::get(path).body(vec![]).unwrap_or_else(|error| panic!("{path}: {error}"));
        match self.client.request_text(request).await {
            Ok(_) => true,
            Err(kube::Error::Api(status)) if status.code == 404 => false,
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// Whether the API server says by now that there is such an object. While it starts it may say anything, and nobody may answer.
    pub async fn exists_by_now(&self, path: &str) -> bool {
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
