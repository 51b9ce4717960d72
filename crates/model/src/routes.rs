//! The providers, and which model a name means. No request is made here.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    chat::{ChatRequest, ModelRef},
    demo,
    error::ResolveError,
    scripted::{self, Scripted},
    settings::{Provider, Retry, WireFormat},
};

/// How a provider is reached.
pub(crate) enum Route {
    /// As the settings say.
    Configured(Arc<Provider>),
    /// By a script, in tests.
    Scripted(Scripted),
}

/// What `doctor` shows of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderInfo {
    /// Its name in the configuration.
    pub name: String,
    /// Where it is reached; `None` when it needs no network.
    pub base_url: Option<String>,
    /// Whether it can be asked: it has a key, or needs none.
    pub is_configured: bool,
    /// Whether a key is configured.
    pub has_key: bool,
    /// The model when only the provider is named.
    pub default_model: Option<String>,
}

/// Every provider by name.
pub(crate) struct Routes(pub(crate) BTreeMap<String, Route>);

impl Routes {
    pub(crate) fn get(&self, provider: &str) -> Option<&Route> {
        self.0.get(provider)
    }

    /// Where a provider is asked.
    pub(crate) fn address(&self, provider: &str) -> Option<&str> {
        match self.get(provider)? {
            Route::Configured(provider) => Some(&provider.base_url),
            Route::Scripted(_) => None,
        }
    }

    /// What the providers at this address are called.
    pub(crate) fn names_at(&self, base_url: &str) -> Vec<String> {
        let names = self.0.keys().filter(|name| self.address(name) == Some(base_url));
        names.cloned().collect()
    }

    /// The model of a run that names none.
    pub(crate) fn default_of(&self, setting: Option<&str>) -> Result<ModelRef, ResolveError> {
        if let Some(text) = setting {
            return self.checked(self.parse(text)?);
        }
        let has_key = |name: &&str| match self.get(name) {
            Some(Route::Configured(provider)) => provider.api_key.is_some(),
            Some(Route::Scripted(_)) | None => false,
        };
        match ["openai", "anthropic", "gemini"].into_iter().find(has_key) {
            Some(provider) => self.named(provider, None),
            None => self.named("demo", None),
        }
    }

    /// What `<provider>/<model>` or `<provider>` means.
    pub(crate) fn parse(&self, text: &str) -> Result<ModelRef, ResolveError> {
        match text.split_once('/') {
            None if !text.is_empty() => self.named(text, None),
            Some((provider, model)) if !provider.is_empty() && !model.is_empty() => {
                Ok(ModelRef { provider: provider.to_owned(), model: model.to_owned() })
            }
            None | Some(_) => Err(ResolveError::Form { text: text.to_owned() }),
        }
    }

    /// A model without a provider beside it. What stands before a `/` is one if we have such a
    /// provider; but a router's models are called so as well, and it has those of all.
    pub(crate) fn named_alone(&self, model: &str, usual: ModelRef) -> ModelRef {
        let own = || ModelRef { model: model.to_owned(), ..usual.clone() };
        let Some((provider, rest)) = model.split_once('/').filter(|(_, rest)| !rest.is_empty())
        else {
            return own();
        };
        let named = || ModelRef { provider: provider.to_owned(), model: rest.to_owned() };
        match (self.get(provider), self.get(&usual.provider)) {
            (Some(Route::Configured(it)), _) if it.is_configured() => named(),
            // At a provider's own address no model is called so.
            (Some(_), Some(Route::Configured(usual))) if usual.needs_key => named(),
            (Some(Route::Scripted(_)), _) => named(),
            (Some(_) | None, _) => own(),
        }
    }

    /// A model of a provider, or its default one.
    pub(crate) fn named(
        &self,
        provider: &str,
        model: Option<&str>,
    ) -> Result<ModelRef, ResolveError> {
        let default = match self.get(provider) {
            Some(Route::Configured(provider)) => provider.default_model.as_deref(),
            Some(Route::Scripted(_)) => Some(scripted::MODEL),
            None => return Err(self.unknown(provider)),
        };
        let model = model
            .or(default)
            .ok_or_else(|| ResolveError::NoModel { provider: provider.to_owned() })?;
        self.checked(ModelRef { provider: provider.to_owned(), model: model.to_owned() })
    }

    /// The model, if it is available.
    pub(crate) fn checked(&self, model: ModelRef) -> Result<ModelRef, ResolveError> {
        match self.get(&model.provider) {
            None => Err(self.unknown(&model.provider)),
            Some(Route::Scripted(_)) => Ok(model),
            Some(Route::Configured(provider)) if !provider.is_configured() => {
                Err(ResolveError::NoKey { provider: model.provider, configured: self.configured() })
            }
            Some(Route::Configured(provider)) => {
                match provider.kind == WireFormat::Demo
                    && demo::DemoModel::of(&model.model).is_none()
                {
                    true => Err(ResolveError::UnknownModel {
                        provider: model.provider,
                        model: model.model,
                        known: "`default`, `paced`, `instant`".into(),
                    }),
                    false => Ok(model),
                }
            }
        }
    }

    /// How often and how long a request may be tried; fails when its model is not available.
    pub(crate) fn limits_of(
        &self,
        request: &ChatRequest,
    ) -> Result<(Retry, Duration), ResolveError> {
        let (provider, model) = (request.provider.clone(), request.model.clone());
        let model = self.checked(ModelRef { provider, model })?;
        Ok(match self.get(&model.provider) {
            Some(Route::Configured(provider)) => (provider.retry, provider.timeouts.total),
            Some(Route::Scripted(_)) | None => scripted::LIMITS,
        })
    }

    pub(crate) fn infos(&self) -> Vec<ProviderInfo> {
        let info = |(name, route): (&String, &Route)| match route {
            Route::Scripted(_) => ProviderInfo {
                name: name.clone(),
                base_url: None,
                is_configured: true,
                has_key: false,
                default_model: Some(scripted::MODEL.to_owned()),
            },
            Route::Configured(provider) => ProviderInfo {
                name: name.clone(),
                base_url: (provider.kind != WireFormat::Demo).then(|| provider.base_url.clone()),
                is_configured: provider.is_configured(),
                has_key: provider.api_key.is_some(),
                default_model: provider.default_model.clone(),
            },
        };
        self.0.iter().map(info).collect()
    }

    fn unknown(&self, provider: &str) -> ResolveError {
        ResolveError::UnknownProvider {
            provider: provider.to_owned(),
            configured: self.configured(),
        }
    }

    fn configured(&self) -> String {
        let names = self.infos().into_iter().filter(|info| info.is_configured);
        names.map(|info| format!("`{}`", info.name)).collect::<Vec<_>>().join(", ")
    }
}
