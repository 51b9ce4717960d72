//! The client of the HTTP API: scope, credential and address of the server, and its errors as exit
//! codes and hints.
//!
//! Without a key we send the scope, with defaults. With a key we send only what the environment
//! names: the key fixes the rest, and a default would contradict it.

pub(crate) mod follow;
mod sse;

use std::{fmt, str::FromStr, time::Duration};

use protocol::{
    error::{ErrorBody, ErrorCode, FieldError},
    name::{OrgId, ProjectId, UserId},
};
use reqwest::{
    Method, RequestBuilder, Response, StatusCode, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::exit::{Exit, Failure};

const URL_DEFAULT: &str = "http://localhost:3000";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a response may take, unless it is a stream.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A way to the server, in one scope.
pub(crate) struct ApiClient {
    http: reqwest::Client,
    base: Url,
    scope: Named,
}

/// What we say of our scope; the key, if there is one, says the rest.
struct Named {
    org_id: Option<OrgId>,
    user_id: Option<UserId>,
    project_id: Option<ProjectId>,
}

/// The pairs of a query string.
pub(crate) type Query<'a> = &'a [(&'a str, String)];

impl ApiClient {
    /// Reads the server's address, the scope and the key from the environment.
    pub(crate) fn from_environment(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Failure> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let base = set("AGENT_API_URL").unwrap_or_else(|| URL_DEFAULT.to_owned());
        let base = Url::parse(&base)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| {
                Failure::new(Exit::Usage, "AGENT_API_URL is not an http or https URL")
                    .hint(format!("it should look like {URL_DEFAULT}"))
            })?;
        let key = set("OPENINTERN_API_KEY");
        let or_default =
            |name: &str, default: &str| set(name).or(key.is_none().then(|| default.to_owned()));
        let scope = Named {
            org_id: parsed("AGENT_ORG_ID", or_default("AGENT_ORG_ID", "org_default"))?,
            user_id: parsed("AGENT_USER_ID", or_default("AGENT_USER_ID", "user_default"))?,
            project_id: parsed("AGENT_PROJECT_ID", set("AGENT_PROJECT_ID"))?,
        };
        let headers = headers(&scope, key)?;
        let mut http =
            reqwest::Client::builder().default_headers(headers).connect_timeout(CONNECT_TIMEOUT);
        if is_loopback(&base) {
            http = http.no_proxy(); // A proxy cannot reach what is on this machine.
        }
        if base.scheme() == "http" {
            http = http.tls_certs_only([]); // Without TLS no certificates are needed, or looked for.
        }
        let http = http.build().map_err(|error| Failure::from_error(Exit::Failed, &error))?;
        Ok(Self { http, base, scope })
    }

    /// The address of a page of the web UI.
    pub(crate) fn page(&self, path: &[&str]) -> Url {
        below(self.address(), path)
    }

    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: Query<'_>,
    ) -> Result<T, Failure> {
        self.answer(self.request(Method::GET, path).query(query)).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        self.answer(self.request(Method::POST, path).json(body)).await
    }

    /// A POST without a body.
    pub(crate) async fn post_empty<T: DeserializeOwned>(
        &self,
        path: &[&str],
    ) -> Result<T, Failure> {
        self.answer(self.request(Method::POST, path)).await
    }

    pub(crate) async fn patch<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        self.answer(self.request(Method::PATCH, path).json(body)).await
    }

    pub(crate) async fn delete(&self, path: &[&str]) -> Result<(), Failure> {
        let request = self.request(Method::DELETE, path).timeout(ANSWER_TIMEOUT);
        self.accepted(request).await?;
        Ok(())
    }

    /// Where the server is, in words: without a user or a password.
    fn address(&self) -> Url {
        let mut address = self.base.clone();
        // Both fail only for a URL without a host, which `base` has.
        address.set_username("").ok();
        address.set_password(None).ok();
        address
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.http.request(method, self.url(path))
    }

    fn url(&self, path: &[&str]) -> Url {
        below(self.base.clone(), path)
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Failure> {
        let response = self.accepted(request.timeout(ANSWER_TIMEOUT)).await?;
        let bytes = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Failure::new(Exit::Failed, format!("cannot read the server's answer: {error}"))
                .hint(format!("is {} an OpenIntern server of this version?", self.address()))
        })
    }

    /// Sends the request; every status other than a success is a failure.
    async fn accepted(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.bytes().await.unwrap_or_default();
        Err(self.refusal(status, &body))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let why: &dyn fmt::Display =
            if error.is_timeout() { &"it took too long" } else { &root(error) };
        let failure = Failure::new(
            Exit::Unreachable,
            format!("the server at {} does not answer: {why}", self.address()),
        );
        failure.hint("start one with `openintern dev`, or set AGENT_API_URL to where it is")
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> Failure {
        let Ok(ErrorBody { error }) = serde_json::from_slice(body) else {
            return Failure::new(
                exit_of_status(status),
                format!("the server at {} answered {status}", self.address()),
            );
        };
        // The message of a single fault has it already.
        let untold = error.details.iter().filter(|fault| !error.message.contains(&fault.message));
        let mut message = error.message.clone();
        for FieldError { field, message: fault } in untold {
            message.push_str(&format!("; `{field}` {fault}"));
        }
        Failure {
            exit: exit_of_status(status),
            message,
            hint: self.hint(error.code).or(error.hint),
            request_id: Some(error.request_id),
        }
    }

    /// What a person at a terminal can do about it, where that differs from the server's hint.
    fn hint(&self, code: ErrorCode) -> Option<String> {
        let hint = match code {
            ErrorCode::NotFound => format!(
                "this is scope {}; AGENT_ORG_ID, AGENT_USER_ID and AGENT_PROJECT_ID choose another",
                self.scope
            ),
            ErrorCode::ScopeRequired => {
                "set AGENT_ORG_ID and AGENT_USER_ID: the key leaves them open".into()
            }
            ErrorCode::Unauthorized => "set OPENINTERN_API_KEY to a key of this server".into(),
            ErrorCode::Forbidden => "use a key that is allowed to do this".into(),
            ErrorCode::ScopeMismatch => format!(
                "this is scope {}; use a key of it, or unset AGENT_ORG_ID, AGENT_USER_ID and \
                 AGENT_PROJECT_ID to act in the key's own",
                self.scope
            ),
            ErrorCode::Unavailable => {
                "try again in a moment; `openintern doctor` looks closer".into()
            }
            _ => return None,
        };
        Some(hint)
    }
}

fn below(mut url: Url, path: &[&str]) -> Url {
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

fn exit_of_status(status: StatusCode) -> Exit {
    match status.as_u16() {
        401 | 403 => Exit::Denied,
        404 => Exit::NotFound,
        408 | 502..=504 => Exit::Unreachable,
        409 | 429 => Exit::Conflict,
        400..=499 => Exit::Usage,
        _ => Exit::Failed,
    }
}

fn parsed<T: FromStr>(variable: &str, value: Option<String>) -> Result<Option<T>, Failure>
where
    T::Err: fmt::Display,
{
    let parse = |text: String| {
        text.parse().map_err(|error| Failure::new(Exit::Usage, format!("{variable}: {error}")))
    };
    value.map(parse).transpose()
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [org, user, project] = self.parts();
        let of_key = "(of the key)";
        write!(f, "{}/{}", org.unwrap_or(of_key), user.unwrap_or(of_key))?;
        project.map_or(Ok(()), |project| write!(f, "/{project}"))
    }
}

impl Named {
    fn parts(&self) -> [Option<&str>; 3] {
        [
            self.org_id.as_ref().map(OrgId::as_str),
            self.user_id.as_ref().map(UserId::as_str),
            self.project_id.as_ref().map(ProjectId::as_str),
        ]
    }
}

fn headers(scope: &Named, key: Option<String>) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for (name, value) in ["x-org-id", "x-user-id", "x-project-id"].into_iter().zip(scope.parts()) {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    if let Some(key) = key {
        let mut bearer =
            HeaderValue::from_str(&format!("Bearer {}", key.trim())).map_err(|_| {
                Failure::new(
                    Exit::Usage,
                    "OPENINTERN_API_KEY is not an API key: it has characters that no key contains",
                )
            })?;
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
    }
    Ok(headers)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

fn root(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(variables: &[(&str, &str)]) -> Result<ApiClient, Failure> {
        ApiClient::from_environment(|name| {
            variables.iter().find(|pair| pair.0 == name).map(|pair| pair.1.to_owned())
        })
    }

    #[test]
    fn the_environment_says_where_and_who() {
        let usual = client(&[]).unwrap();
        assert_eq!(usual.scope.to_string(), "org_default/user_default");
        assert_eq!(usual.url(&["api", "runs"]).as_str(), "http://localhost:3000/api/runs");
        let other = client(&[
            ("AGENT_API_URL", "https://example.com/base/"),
            ("AGENT_PROJECT_ID", "p"),
            ("AGENT_ORG_ID", ""),
        ])
        .unwrap();
        assert_eq!(other.scope.to_string(), "org_default/user_default/p");
        assert_eq!(other.url(&["api", "a/b"]).as_str(), "https://example.com/base/api/a%2Fb");
        let secret = client(&[("AGENT_API_URL", "https://li:hunter22@example.com")]).unwrap();
        assert_eq!(secret.address().as_str(), "https://example.com/");
        assert_eq!(secret.page(&["runs"]).as_str(), "https://example.com/runs");
        let key = ("OPENINTERN_API_KEY", "oi_1");
        assert_eq!(client(&[key]).unwrap().scope.to_string(), "(of the key)/(of the key)");
        let named = client(&[key, ("AGENT_USER_ID", "u")]).unwrap();
        assert_eq!(named.scope.to_string(), "(of the key)/u");
    }

    #[test]
    fn what_is_wrong_in_the_environment_is_named() {
        let check = |name: &str, value: &str| {
            let failure = client(&[(name, value)]).err().unwrap();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.message.contains(name), "{}", failure.message);
        };
        check("AGENT_API_URL", "localhost:3000");
        check("AGENT_ORG_ID", "a b");
        check("AGENT_PROJECT_ID", "组织");
        check("OPENINTERN_API_KEY", "a\nb");
    }

    #[test]
    fn a_fault_is_said_once_and_all_are_said() {
        let told = |message: &str, details: serde_json::Value| {
            let error = serde_json::json!({"error": {
                "code": "validation_error", "message": message, "details": details, "request_id": "r"}});
            let body = error.to_string();
            client(&[]).unwrap().refusal(StatusCode::BAD_REQUEST, body.as_bytes()).message
        };
        let fault =
            |field: &str, message: &str| serde_json::json!({"field": field, "message": message});
        let one = serde_json::json!([fault("/input", "must not be empty")]);
        assert_eq!(told("`/input` must not be empty", one), "`/input` must not be empty");
        let two = [fault("/a", "must not be empty"), fault("/b", "must be at least 1")];
        assert_eq!(
            told("several fields are not valid", two.into_iter().collect()),
            "several fields are not valid; `/a` must not be empty; `/b` must be at least 1"
        );
    }

    #[test]
    fn refusals_have_exit_codes() {
        for (status, exit) in [
            (400, Exit::Usage),
            (401, Exit::Denied),
            (403, Exit::Denied),
            (404, Exit::NotFound),
            (409, Exit::Conflict),
            (422, Exit::Usage),
            (429, Exit::Conflict),
            (500, Exit::Failed),
            (503, Exit::Unreachable),
        ] {
            assert_eq!(exit_of_status(StatusCode::from_u16(status).unwrap()), exit, "{status}");
        }
    }
}
