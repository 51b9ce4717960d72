//! All configured providers: resolves which model a run asks, asks it, and retries.
//!
//! One attempt is in `attempt`; a provider's wire format is in its settings.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_stream::stream;
use futures::{StreamExt, future::join_all, stream::BoxStream};
use protocol::{
    message::{Replay, Usage},
    model_names::ModelNames,
    name::OrgId,
    run::LlmConfig,
    tool::{TaughtModel, ToolInfo, ToolSource},
};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{
    attempt::{AttemptEvent, WholeAnswer, attempt, body_of},
    chat::{ChatEvent, ChatRequest, ChatResponse, ModelRef},
    demo,
    embedding::{self, Embedder, EmbeddingSettings},
    error::{ModelError, Phase, ResolveError, SettingsError},
    formats::{self, FormatWay},
    health::{HealthView, ModelHealth, ModelStanding},
    http,
    lessons::{LESSONS_MAX, Lesson, Lessons},
    limits,
    prices::{Price, Prices},
    retry,
    routes::{ProviderInfo, Route, Routes},
    scripted::{self, Scripted},
    settings::{ModelSettings, Provider, ProviderLimits, WireFormat},
    taught::{ModelLesson, Taught},
    windows::{ContextWindow, Windows},
};

/// All configured providers. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Models {
    registry: Arc<Registry>,
}

struct Registry {
    client: reqwest::Client,
    routes: Routes,
    default: ModelRef,
    prices: Prices,
    windows: Windows,
    taught: Taught,
    health: HealthView,
    limits: BTreeMap<String, ProviderLimits>,
}

/// The models that a run may ask, without repetition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelList {
    /// It is asked as long as it can answer.
    pub first: ModelRef,
    /// The next ones, in their order.
    pub others: Vec<ModelRef>,
}

impl ModelList {
    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &ModelRef> + Clone {
        std::iter::once(&self.first).chain(&self.others)
    }
}

impl From<ModelRef> for ModelList {
    fn from(first: ModelRef) -> Self {
        Self { first, others: Vec::new() }
    }
}

/// Why a tool is left out where its model refused it in an earlier call.
const REFUSED_BEFORE: &str = "the provider has refused its schema before";

/// What a [`Models::probe`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderProbe {
    pub provider: String,
    /// What it answered, or why it could not.
    pub outcome: Result<ProbeAnswer, ModelError>,
}

/// The answer to a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeAnswer {
    pub took: Duration,
    /// The names of all its models; empty where it does not list them, or not all at once.
    pub models: Vec<String>,
}

impl ProbeAnswer {
    /// Whether the provider has a model of this name, as far as it says.
    pub fn may_have(&self, model: &str) -> bool {
        let latest = format!("{model}:latest"); // Ollama leaves it out when asked.
        self.models.is_empty() || self.models.iter().any(|it| *it == model || *it == latest)
    }
}

impl Models {
    /// Checks the settings and makes the client. Fails by naming the setting at fault.
    pub fn new(settings: &ModelSettings) -> Result<Models, SettingsError> {
        let providers = settings.resolved()?;
        let routes = providers
            .into_iter()
            .map(|(name, provider)| (name, Route::Configured(Arc::new(provider))))
            .collect();
        let mut registry = Registry {
            client: http::client(settings.connect_timeout())?,
            routes: Routes(routes),
            default: ModelRef { provider: "demo".into(), model: "default".into() },
            prices: Prices::new(settings.prices.clone()),
            windows: Windows::new(settings.limits.clone()),
            taught: Taught::default(),
            health: HealthView::default(),
            limits: settings
                .providers
                .iter()
                .filter(|(_, provider)| provider.limits.is_set())
                .map(|(name, provider)| (name.clone(), provider.limits))
                .collect(),
        };
        registry.default =
            registry.routes.default_of(settings.default.as_deref()).map_err(|error| {
                let problem = format!("cannot be used: {error}");
                SettingsError::new("model.default", problem).hint(error.hint())
            })?;
        Ok(Models { registry: Arc::new(registry) })
    }

    /// For tests: the provider `scripted`, which is the default, beside the demo.
    pub fn with_scripted(script: Scripted) -> Models {
        Self::with_scripted_limits(script, ProviderLimits::default())
    }

    /// The same, where the provider has limits.
    pub fn with_scripted_limits(script: Scripted, limits: ProviderLimits) -> Models {
        let mut models = Models::new(&ModelSettings::default())
            .expect("the default settings are valid and a client needs nothing outside");
        let registry =
            Arc::get_mut(&mut models.registry).expect("nobody else has a clone of it yet");
        registry.routes.0.insert("scripted".into(), Route::Scripted(script));
        registry.default = ModelRef { provider: "scripted".into(), model: scripted::MODEL.into() };
        if limits.is_set() {
            registry.limits.insert("scripted".into(), limits);
        }
        models
    }

    /// The models that a run may ask, in their order: what its request says over what its agent says
    /// over the default.
    ///
    /// An agent names `<provider>/<model>` or `<provider>`. A request that names only models means
    /// the provider it would have had first, unless it names one in front, as in
    /// `<provider>/<model>`; one that names only a provider, its default model.
    pub fn resolve(
        &self,
        llm_config: Option<&LlmConfig>,
        of_agent: Option<&ModelNames>,
    ) -> Result<ModelList, ResolveError> {
        let routes = &self.registry.routes;
        let usual = || match of_agent {
            Some(names) => names.as_slice().iter().map(|text| routes.parse(text)).collect(),
            None => Ok(vec![self.registry.default.clone()]),
        };
        let found = match llm_config.map(|config| (config.provider.as_deref(), &config.model)) {
            None | Some((None, None)) => usual()?,
            Some((None, Some(names))) => {
                let usual = usual()?.into_iter().next().unwrap_or(self.registry.default.clone());
                let own = |model: &String| routes.named_alone(model, usual.clone());
                names.as_slice().iter().map(own).collect()
            }
            Some((Some(provider), None)) => vec![routes.named(provider, None)?],
            Some((Some(provider), Some(names))) => {
                let own = |model: &String| routes.named(provider, Some(model));
                names.as_slice().iter().map(own).collect::<Result<_, _>>()?
            }
        };
        let mut list = Vec::new();
        for model in found {
            let model = routes.checked(model)?;
            if !list.contains(&model) {
                list.push(model);
            }
        }
        let mut list = list.into_iter();
        let first = list.next().unwrap_or(self.registry.default.clone());
        Ok(ModelList { first, others: list.collect() })
    }

    /// The whole answer of a model, for those who do not follow its words; none where the stream ends
    /// without one. Asks as [`Self::chat`] does.
    pub async fn whole_answer(
        &self,
        request: ChatRequest,
    ) -> Option<Result<ChatResponse, ModelError>> {
        let mut events = self.chat(request);
        let mut spent = (Usage::default(), 0.0);
        loop {
            match events.next().await? {
                Ok(
                    ChatEvent::Text(_)
                    | ChatEvent::AttemptFailed { .. }
                    | ChatEvent::ToolLeftOut { .. },
                ) => {}
                Ok(ChatEvent::Spent { usage, cost_usd }) => {
                    spent.0 += usage;
                    spent.1 += cost_usd;
                }
                Ok(ChatEvent::Done(mut response)) => {
                    response.usage += spent.0;
                    response.cost_usd += spent.1;
                    return Some(Ok(*response));
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Asks a model. The stream ends behind `Done` or an error; dropping it closes the connection.
    ///
    /// Failed attempts are repeated within the provider's bounds. An error carries the wait that
    /// the provider asked for where that is too long to sit out here.
    pub fn chat(
        &self,
        request: impl Into<Arc<ChatRequest>>,
    ) -> BoxStream<'static, Result<ChatEvent, ModelError>> {
        let (registry, request) = (Arc::clone(&self.registry), request.into());
        stream! {
            let started = Instant::now();
            let (retry, total) = match registry.routes.limits_of(&request) {
                Ok(limits) => limits,
                Err(error) => {
                    yield Err(refused(&error));
                    return;
                }
            };
            let deadline = started + total;
            let mut lessons = registry.lessons_of(&request);
            let mut told = BTreeSet::new();
            let (mut attempt, mut taught) = (0, 0);
            let mut refusal = REFUSED_BEFORE.to_owned();
            loop {
                attempt += 1;
                for tool in request.tools.iter() {
                    if lessons.refuses(tool) && told.insert(tool.name.clone()) {
                        let (tool, reason) = (tool.name.clone(), refusal.clone());
                        yield Ok(ChatEvent::ToolLeftOut { tool, reason });
                    }
                }
                for (tool, reason) in registry.beyond_bound(&request, &lessons) {
                    if told.insert(tool.clone()) {
                        yield Ok(ChatEvent::ToolLeftOut { tool, reason });
                    }
                }
                let mut void = false;
                let failed = attempt - taught;
                let mut pieces = registry.attempt(Arc::clone(&request), &lessons, failed, deadline);
                let error = loop {
                    match pieces.next().await {
                        Some(Ok(AttemptEvent::Text(text))) => {
                            void = true;
                            yield Ok(ChatEvent::Text(text));
                        }
                        Some(Ok(AttemptEvent::Spent(usage))) => {
                            let cost_usd = registry.cost_usd(&request, &usage);
                            yield Ok(ChatEvent::Spent { usage, cost_usd });
                        }
                        Some(Ok(AttemptEvent::Whole(whole))) => {
                            let response = registry.response(&request, *whole, started, attempt);
                            yield Ok(ChatEvent::Done(Box::new(response)));
                            return;
                        }
                        Some(Err(error)) => break error,
                        None => break ModelError::Truncated,
                    }
                };
                drop(pieces); // Its connection is closed before we wait.
                if !void && taught < LESSONS_MAX && registry.learn(&mut lessons, &error, &request) {
                    taught += 1;
                    refusal = error.to_string();
                    continue;
                }
                let Some(retry_in) = retry::wait_after(&error, failed, retry, retry::random())
                else {
                    yield Err(error);
                    return;
                };
                if Instant::now() + retry_in >= deadline {
                    yield Err(match error.retry_after() {
                        Some(_) => error, // It says when to come back.
                        None => ModelError::Timeout { phase: Phase::Total, after: total },
                    });
                    return;
                }
                yield Ok(ChatEvent::AttemptFailed { error, attempt, retry_in, void });
                sleep(retry_in).await;
                if registry.health.is_open(&request.model_ref()) {
                    yield Err(ModelError::Resting); // Somebody else has found it so meanwhile.
                    return;
                }
            }
        }
        .boxed()
    }

    /// The embedder that the settings name. Fails by naming the setting at fault.
    pub fn embedder(
        &self,
        settings: &EmbeddingSettings,
    ) -> Result<Arc<dyn Embedder>, SettingsError> {
        embedding::embedder(settings, &self.registry.client, |provider| {
            match self.registry.routes.get(provider)? {
                Route::Configured(provider) => Some(Arc::clone(provider)),
                Route::Scripted(_) => None,
            }
        })
    }

    /// The model of a run that names none.
    pub fn default_model(&self) -> &ModelRef {
        &self.registry.default
    }

    /// The price of a model; `None` when it is in neither table, and so counts as free.
    pub fn price(&self, model: &ModelRef) -> Option<Price> {
        self.registry.prices.find(model)
    }

    /// How many tokens a prompt to this model may have.
    pub fn context_window(&self, model: &ModelRef) -> ContextWindow {
        let address = self.registry.routes.address(&model.provider);
        let lessons = address.map(|base_url| self.registry.taught.of(base_url, &model.model));
        ContextWindow {
            usual_tokens: self.registry.windows.find(model),
            taught_tokens: lessons.and_then(|lessons| lessons.context_tokens),
        }
    }

    /// Whether a model may be asked, as far as this process knows.
    pub fn standing(&self, model: &ModelRef, org: &OrgId) -> ModelStanding {
        self.registry.health.standing(model, org)
    }

    /// What is kept of one model; none where it is well.
    pub fn set_health(&self, model: &ModelRef, kept: Option<ModelHealth>) {
        self.registry.health.set(model, kept);
    }

    /// Everything that is kept of models that failed: it replaces what was known here.
    pub fn hear_health(&self, kept: impl IntoIterator<Item = ModelHealth>) {
        self.registry.health.replace(kept);
    }

    /// The providers that have limits, by name.
    pub fn limits(&self) -> &BTreeMap<String, ProviderLimits> {
        &self.registry.limits
    }

    /// Every provider, by name.
    pub fn providers(&self) -> Vec<ProviderInfo> {
        self.registry.routes.infos()
    }

    /// What providers have taught about their models by refusing.
    pub fn taught(&self) -> Vec<TaughtModel> {
        let routes = &self.registry.routes;
        let taught = self.registry.taught.all().into_iter();
        let taught = taught.flat_map(|((base_url, model), lessons)| {
            let lessons: Vec<_> = lessons.all().iter().map(Lesson::to_string).collect();
            let names = routes.names_at(&base_url);
            names.into_iter().map(move |provider| TaughtModel {
                model: format!("{provider}/{model}"),
                lessons: lessons.clone(),
            })
        });
        let mut taught: Vec<_> = taught.collect();
        taught.sort_by(|a, b| a.model.cmp(&b.model));
        taught
    }

    /// Waits until there are lessons [to be kept](Self::unkept_lessons) or
    /// [to be forgotten](Self::refuted_lessons).
    pub async fn lesson_learnt(&self) {
        self.registry.taught.learnt().await;
    }

    /// What was learnt in this process, and is kept nowhere else yet.
    pub fn unkept_lessons(&self) -> Vec<ModelLesson> {
        self.registry.taught.unkept()
    }

    /// Somebody keeps this lesson now, or does not want to.
    pub fn lesson_is_kept(&self, lesson: &ModelLesson) {
        self.registry.taught.is_kept(lesson);
    }

    /// What has turned out to be wrong, and may be kept elsewhere.
    pub fn refuted_lessons(&self) -> Vec<ModelLesson> {
        self.registry.taught.refuted()
    }

    /// This lesson is kept nowhere any more.
    pub fn lesson_is_forgotten(&self, lesson: &ModelLesson) {
        self.registry.taught.is_forgotten(lesson);
    }

    /// What is kept, the oldest first: it replaces what is held here, but for what is not kept yet.
    pub fn hear_lessons(&self, kept: impl IntoIterator<Item = ModelLesson>) {
        self.registry.taught.replace(kept);
    }

    /// Where a model is asked: what a lesson about it is kept under.
    pub fn address(&self, model: &ModelRef) -> Option<&str> {
        self.registry.routes.address(&model.provider)
    }

    /// Asks every configured provider for the list of its models, which costs no tokens.
    pub async fn probe(&self) -> Vec<ProviderProbe> {
        join_all(self.registry.routes.0.iter().filter_map(|(name, route)| match route {
            Route::Configured(provider) if provider.is_configured() => Some(async move {
                let started = Instant::now();
                let models = self.registry.probe(provider).await;
                let took = started.elapsed();
                let outcome = models.map(|models| ProbeAnswer { took, models });
                ProviderProbe { provider: name.clone(), outcome }
            }),
            Route::Configured(_) | Route::Scripted(_) => None,
        }))
        .await
    }
}

/// How long a probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

impl Registry {
    /// Attempt number `number`, from 1. After the first one a silent provider has twice the time.
    fn attempt(
        &self,
        request: Arc<ChatRequest>,
        lessons: &Lessons,
        number: u32,
        deadline: Instant,
    ) -> BoxStream<'static, Result<AttemptEvent, ModelError>> {
        match self.routes.get(&request.provider) {
            Some(Route::Configured(provider)) => match provider.kind {
                WireFormat::Demo => demo::answer(request).map(Ok).boxed(),
                WireFormat::OpenAi | WireFormat::Anthropic => {
                    let request = asked(request, provider, lessons);
                    let body = body_of(&request, provider, lessons);
                    let provider = match number {
                        0 | 1 => Arc::clone(provider),
                        _ => Arc::new(provider.with_more_patience()),
                    };
                    attempt(self.client.clone(), provider, request, body, deadline).boxed()
                }
            },
            Some(Route::Scripted(script)) => script.answer(request).boxed(),
            None => futures::stream::empty().boxed(),
        }
    }

    fn lessons_of(&self, request: &ChatRequest) -> Lessons {
        let address = self.routes.address(&request.provider);
        address.map(|base_url| self.taught.of(base_url, &request.model)).unwrap_or_default()
    }

    /// Tools that are left out since the provider takes no more, and why.
    fn beyond_bound(&self, request: &Arc<ChatRequest>, lessons: &Lessons) -> Vec<(String, String)> {
        let Some(Route::Configured(provider)) = self.routes.get(&request.provider) else {
            return Vec::new();
        };
        let Some(most) = provider.tools_max else { return Vec::new() };
        let sent = asked(Arc::clone(request), provider, lessons);
        let is_sent = |tool: &&ToolInfo| sent.tools.iter().any(|sent| sent.name == tool.name);
        let reason = || format!("the provider takes at most {most} tools");
        let beyond = request.tools.iter().filter(|tool| !is_sent(tool));
        beyond.map(|tool| (tool.name.clone(), reason())).collect()
    }

    /// Learns from a refusal; returns whether there is something to do differently now.
    fn learn(&self, lessons: &mut Lessons, error: &ModelError, request: &Arc<ChatRequest>) -> bool {
        let Some(Route::Configured(provider)) = self.routes.get(&request.provider) else {
            return false;
        };
        let asked = asked(Arc::clone(request), provider, lessons);
        let body = body_of(&asked, provider, lessons);
        let (ways_refused, window) = (lessons.ways_refused, lessons.context_tokens);
        let Some(lesson) = lessons.learn(error, &asked, &body) else {
            return lessons.ways_refused > ways_refused;
        };
        let model = request.model_ref();
        if let Lesson::ContextTokens { tokens } = lesson
            && !self.taught.may_have_window(&provider.base_url, &model.model, tokens)
        {
            tracing::warn!(%model, tokens, "a provider names a window that it has gone beyond itself");
            lessons.context_tokens = window;
            return false;
        }
        tracing::info!(%model, %lesson, "requests to a model are adapted to its provider");
        let (base_url, model) = (provider.base_url.clone(), model.model);
        // The same prompt would be refused again: whoever wrote it has to make it shorter.
        let is_of_prompt = matches!(lesson, Lesson::ContextTokens { .. });
        self.taught.add(ModelLesson { base_url, model, lesson });
        !is_of_prompt
    }

    fn response(
        &self,
        request: &ChatRequest,
        whole: WholeAnswer,
        started: Instant,
        attempts: u32,
    ) -> ChatResponse {
        let model = request.model_ref();
        let now = Instant::now();
        let millis = |at: Instant| at.duration_since(started).as_millis() as u64;
        if let Some(base_url) = self.routes.address(&request.provider) {
            self.taught.answered(base_url, &model.model, whole.counted_input);
        }
        ChatResponse {
            cost_usd: self.cost_usd(request, &whole.usage),
            replay: whole
                .replay
                .map(|blocks| Replay { provider: request.provider.clone(), blocks }),
            provider: model.provider,
            model: model.model,
            content: whole.content,
            tool_calls: whole.tool_calls,
            cut: whole.cut,
            finish_reason: whole.finish_reason,
            usage: whole.usage,
            time_to_first_token_ms: millis(whole.first_token_at.unwrap_or(now)),
            duration_ms: millis(now),
            attempts,
        }
    }

    fn cost_usd(&self, request: &ChatRequest, usage: &Usage) -> f64 {
        self.prices.find(&request.model_ref()).map_or(0.0, |price| price.cost_usd(usage))
    }

    async fn probe(&self, provider: &Provider) -> Result<Vec<String>, ModelError> {
        let path = match provider.kind {
            WireFormat::Demo => return Ok(Vec::new()),
            WireFormat::OpenAi => "models",
            WireFormat::Anthropic if provider.base_url.ends_with("/v1") => "models",
            WireFormat::Anthropic => "v1/models",
        };
        let get = self.client.get(format!("{}/{path}", provider.base_url));
        let mut quick = provider.clone();
        quick.timeouts.first_byte = PROBE_TIMEOUT.min(quick.timeouts.first_byte);
        let deadline = Instant::now() + PROBE_TIMEOUT;
        let bound = ("RESPONSE_MAX_BYTES", limits::RESPONSE_MAX_BYTES);
        let mut body = http::send(http::with_key(get, provider), &quick, deadline, bound).await?;
        Ok(listed_models(&body.whole().await.unwrap_or_default()))
    }
}

/// The request as it is sent: with the tool for answers, where that is the way, and with no more tools
/// than the provider takes.
fn asked(request: Arc<ChatRequest>, provider: &Provider, lessons: &Lessons) -> Arc<ChatRequest> {
    let mut request = match formats::way(&request, provider, lessons) {
        FormatWay::Tool => Arc::new(formats::with_answer_tool(&request)),
        FormatWay::Native | FormatWay::Words => request,
    };
    let most = provider.tools_max.unwrap_or(usize::MAX);
    let mut excess = request.tools.len().saturating_sub(most);
    if excess > 0 {
        let tools = &mut Arc::make_mut(&mut request).tools;
        // From the end, and our own tools last.
        let mut is_kept: Vec<bool> = tools
            .iter()
            .rev()
            .map(|tool| {
                let is_left_out = excess > 0 && tool.source != ToolSource::Builtin;
                excess -= usize::from(is_left_out);
                !is_left_out
            })
            .collect();
        let kept = tools.iter().filter(|_| is_kept.pop().unwrap_or(true));
        *tools = kept.cloned().collect();
    }
    request
}

/// The names in a list of models, in either wire format; none where there are more pages of it.
fn listed_models(body: &[u8]) -> Vec<String> {
    let list: Value = serde_json::from_slice(body).unwrap_or_default();
    if list.get("has_more") == Some(&Value::Bool(true)) {
        return Vec::new();
    }
    let models = list.get("data").and_then(Value::as_array).into_iter().flatten();
    let names = models.filter_map(|model| model.get("id")?.as_str());
    names.map(|name| name.strip_prefix("models/").unwrap_or(name).to_owned()).collect() // Gemini's.
}

fn refused(error: &ResolveError) -> ModelError {
    ModelError::BadRequest { status: 400, message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use protocol::tool::{Approval, Effect};
    use serde_json::json;

    use super::*;
    use crate::{chat::CacheHints, settings::OPENAI_TOOLS_MAX};

    #[test]
    fn a_provider_gets_no_more_tools_than_it_takes() {
        let settings = json!({"providers": {"openai": {"api_key": "k"}}});
        let settings: ModelSettings = serde_json::from_value(settings).unwrap();
        let models = Models::new(&settings).unwrap();
        let tool = |place: usize, source: ToolSource| ToolInfo {
            name: format!("t{place:03}"),
            description: String::new(),
            input_schema: json!({"type": "object"}),
            effect: Effect::ReadOnly,
            approval: Approval::Never,
            source,
        };
        let served = || ToolSource::Mcp { server: "s".into() };
        let mut tools: Vec<_> = (0..OPENAI_TOOLS_MAX).map(|place| tool(place, served())).collect();
        tools.extend([tool(200, ToolSource::Builtin), tool(300, served())]);
        let request = |provider: &str| {
            Arc::new(ChatRequest {
                provider: provider.into(),
                model: "m".into(),
                system: String::new(),
                messages: Vec::new(),
                tools: tools.clone().into(),
                temperature: None,
                max_tokens: None,
                response_format: None,
                cache: CacheHints::default(),
            })
        };
        let left_out = |provider: &str| {
            let left_out = models.registry.beyond_bound(&request(provider), &Lessons::default());
            left_out.into_iter().map(|(tool, _)| tool).collect::<Vec<_>>()
        };
        assert_eq!(left_out("openai"), ["t127", "t300"], "the last ones, but none of our own");
        assert_eq!(left_out("ollama"), [""; 0]);
        let Some(Route::Configured(provider)) = models.registry.routes.get("openai") else {
            panic!()
        };
        let sent = asked(request("openai"), provider, &Lessons::default());
        assert_eq!(sent.tools.len(), OPENAI_TOOLS_MAX);
    }
}
