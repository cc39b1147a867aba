//! Reading, checking and changing the configuration.

use super::retry::Repeat;
use super::{Ask, Client, Error, Read, decode};
use crate::configuration::{ConfigChanged, ConfigDocument, ConfigFile, ConfigText, YAML};
use crate::resource::ReloadRequest;
use reqwest::Method;
use serde_json::{Value, json};

/// What a change is made to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// This version, and no other.
    Of(&'a str),
    /// The same, where so many mitigations may lose rules by a switch to dry-run.
    Expecting(&'a str, u64),
    /// Nothing: it is only checked.
    ValidateOnly,
}

impl<'a> Change<'a> {
    fn version(self) -> Option<&'a str> {
        match self {
            Self::Of(version) | Self::Expecting(version, _) => Some(version),
            Self::ValidateOnly => None,
        }
    }

    fn query(self) -> String {
        match self {
            Self::Of(_) => String::new(),
            Self::Expecting(_, count) => format!("?expect_count={count}"),
            Self::ValidateOnly => "?validate=true".to_owned(),
        }
    }

    fn repeat(self) -> Repeat {
        match self {
            Self::Of(_) | Self::Expecting(..) => Repeat::ByKey,
            Self::ValidateOnly => Repeat::WhenSafe,
        }
    }
}

#[expect(
    clippy::missing_errors_doc,
    reason = "the errors of all methods are alike: the daemon refused, or was not reached"
)]
impl Client {
    /// What is in force of a file.
    pub async fn config_document(&self, file: ConfigFile) -> Result<Read<ConfigDocument>, Error> {
        self.read(&format!("/v1/config/{file}")).await
    }

    /// Changes the inventory or the playbooks as a document.
    pub async fn change_config_document(
        &self,
        file: ConfigFile,
        document: &Value,
        change: Change<'_>,
    ) -> Result<ConfigChanged, Error> {
        let path = format!("/v1/config/{file}{}", change.query());
        let ask = Ask::new(Method::PUT, &path).json(&json!({ "document": document }))?;
        let answer = self
            .send(ask.of_version(change.version()), change.repeat())
            .await?;
        decode(&answer.body)
    }

    /// A file as it is on disk, byte for byte.
    pub async fn config_text(&self, file: ConfigFile) -> Result<ConfigText, Error> {
        let path = format!("/v1/config/{file}/raw");
        let answer = self.send(Ask::get(&path), Repeat::WhenSafe).await?;
        let missing = || Error::Protocol("the answer has no version".to_owned());
        Ok(ConfigText {
            file,
            version: answer.version.ok_or_else(missing)?,
            text: String::from_utf8(answer.body.into())
                .map_err(|error| Error::Protocol(format!("the file is not UTF-8: {error}")))?,
        })
    }

    /// Changes a file as text, byte for byte.
    pub async fn change_config_text(
        &self,
        file: ConfigFile,
        text: &str,
        change: Change<'_>,
    ) -> Result<ConfigChanged, Error> {
        let path = format!("/v1/config/{file}/raw{}", change.query());
        let ask = Ask::new(Method::PUT, &path).with(YAML, text.to_owned());
        let answer = self
            .send(ask.of_version(change.version()), change.repeat())
            .await?;
        decode(&answer.body)
    }

    /// Reads the configuration files again, all or none.
    pub async fn reload(&self) -> Result<Value, Error> {
        self.reload_with(&ReloadRequest::default()).await
    }

    /// The same, with what is expected to come of it.
    pub async fn reload_with(&self, request: &ReloadRequest) -> Result<Value, Error> {
        self.change("/v1/config/reload", request, Repeat::ByKey).await
    }
}
