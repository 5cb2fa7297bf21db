//! The frame of every page, and the headers that confine it.

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use maud::{DOCTYPE, Markup, html};

use super::{assets, links};
use crate::admin::{authn::Caller, contract::ErrorCode, response::Problem};

/// Nothing but this server's own files, forms and event streams; no inline script or style; no frame around it.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Where the first link of a page leads: to the overview of all namespaces, or of one for people who may not see all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Home {
    namespace: Option<String>,
}

impl Home {
    /// The overview of one namespace.
    pub(super) fn of(namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()) }
    }

    fn link(&self) -> String {
        links::overview(self.namespace.as_deref())
    }
}

/// A page.
pub(super) struct Page<'a> {
    /// The heading, also the title of the window.
    pub(super) title: String,
    /// The overview that the first link leads to: see [`Home`].
    pub(super) home: Home,
    /// Links to the pages between the overview and this one.
    pub(super) above: Vec<(String, String)>,
    /// Who looks at it.
    pub(super) caller: Option<&'a Caller>,
    /// The content below the heading.
    pub(super) content: Markup,
}

impl Page<'_> {
    /// The response with status 200.
    pub(super) fn respond(self) -> Response {
        self.respond_with(StatusCode::OK)
    }

    /// The response with another status.
    pub(super) fn respond_with(self, status: StatusCode) -> Response {
        let mut response = (status, self.render().into_string()).into_response();
        let headers = response.headers_mut();
        protect(headers);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        // Payloads are confidential.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    fn render(&self) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (self.title) " · Grapnel" }
                    link rel="stylesheet" href=(assets::STYLE.path());
                    link rel="icon" type="image/svg+xml" href=(assets::ICON.path());
                    script src=(assets::SCRIPT.path()) defer {}
                }
                body {
                    a.skip href="#content" { "Skip to content" }
                    header {
                        nav aria-label="Pages above" {
                            ol {
                                li { a href=(self.home.link()) { "Grapnel" } }
                                @for (name, link) in &self.above {
                                    li { a href=(link) { bdi { (name) } } }
                                }
                            }
                        }
                        @if let Some(caller) = self.caller {
                            p.caller { "as " bdi { (caller.name) } }
                        }
                    }
                    main id="content" tabindex="-1" {
                        h1 { bdi { (self.title) } }
                        (self.content)
                    }
                }
            }
        }
    }
}

/// Sets the headers that every response of the console has.
pub(super) fn protect(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // A form needs an `Origin` that is not "null".
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// An error as a page.
pub(super) fn problem(problem: &Problem, home: Home) -> Response {
    problem_with(problem, home, html! {})
}

/// An error as a page, with something to do about it.
pub(super) fn problem_with(problem: &Problem, home: Home, more: Markup) -> Response {
    let body = problem.body();
    let title = match body.code {
        ErrorCode::Unauthorized => "Not signed in",
        ErrorCode::Forbidden => "Not allowed",
        ErrorCode::NotFound => "Not found",
        ErrorCode::InvalidParameter | ErrorCode::BodyTooLarge | ErrorCode::UnsupportedMediaType => "Not valid",
        ErrorCode::MethodNotAllowed => "Method not allowed",
        ErrorCode::Conflict => "Not possible now",
        ErrorCode::Internal => "The journal failed",
        ErrorCode::Unavailable | ErrorCode::Timeout => "Not available now",
    };
    let content = html! {
        p.problem role="alert" { bdi { (super::text::visible(&sentence(&body.error))) } }
        @if body.code == ErrorCode::Unauthorized {
            p { "A browser cannot send a bearer token. Start the console with your own credentials instead:" }
            pre tabindex="0" { code {
                "grapnel console --kubeconfig\n"
                "grapnel console --admin-url URL --token-file FILE"
            } }
        }
        (more)
    };
    let page = Page { title: title.to_owned(), home, above: Vec::new(), caller: None, content };
    page.respond_with(body.code.status())
}

/// A message of the API, which begins in lower case, as a sentence.
fn sentence(message: &str) -> String {
    let mut marks = message.chars();
    let first: String = marks.next().map(|first| first.to_uppercase().collect()).unwrap_or_default();
    format!("{first}{}.", marks.as_str())
}

/// A table that scrolls by itself where it is too wide, also by keyboard.
pub(super) fn table(name: &str, titles: &[&str], rows: Markup) -> Markup {
    html! {
        div.scroll role="region" aria-label=(name) tabindex="0" {
            table {
                thead { tr { @for title in titles { th scope="col" { (title) } } } }
                tbody { (rows) }
            }
        }
    }
}
