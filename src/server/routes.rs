//! THE TABLE: every action's name, method, path, who may call it, and its handler (contract §3).
//!
//! It drives routing and 405, the checks before a handler runs, and the test that walks it.

use std::borrow::Cow;
use std::pin::Pin;

use warp::http::Method;
use warp::reply::Response;

use super::error::ApiError;
use super::handlers::{
    auth, blobs, bundle, catalogue, claims, jobs, logs, nodes, outputs, status, templates, tokens, uploads, users,
};
use super::pages;
use super::request::Call;
use super::watch::{sse, websocket};
use crate::store::catalogue::{CATALOGUES, Catalogue};

/// What a handler gives.
pub(crate) type Answer<'a> = Pin<Box<dyn Future<Output = Result<Response, ApiError>> + Send + 'a>>;
/// A handler; it runs once every check of its row has passed.
pub(crate) type Handler = for<'a> fn(&'a mut Call) -> Answer<'a>;

/// Who may call, in the letters of contract §3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Anyone at all, without a token.
    Anyone,
    /// `A`: any authenticated user.
    User,
    /// `S`: staff.
    Staff,
    /// `S`, or a program on the server's own machine.
    StaffOrLoopback,
    /// The user itself.
    Oneself,
    /// `S` or the user itself.
    StaffOrOneself,
    /// `S` or the node itself.
    StaffOrItself,
    /// `N`: calls for a node.
    Node,
    /// `N`, and the job is workable.
    NodeForWorkable,
    /// `O`: calls for the node that holds the job.
    Holder,
    /// `O` or `W`: calls for the node that holds the job, or whose `current_job` it is.
    HolderOrWorker,
    /// `S` or `O`.
    StaffOrHolder,
    /// `S`, or the user who made the job.
    StaffOrCreator,
}

/// What the first parameter of the path names, and whose absence is a 404 before any 403.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// No object.
    None,
    /// A job.
    Job,
    /// A job output.
    Output,
    /// A job template.
    Template,
    /// A node.
    Node,
    /// A user, by key, or by name when it is not made of digits.
    User,
    /// An API token.
    Token,
    /// A resumable upload.
    Upload,
    /// A row of a catalogue.
    Row(&'static Catalogue),
}

/// Whether caches may keep the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cache {
    /// As HTTP has it.
    Usual,
    /// Never: the call changes state, whatever its method.
    Never,
}

/// Where a token may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// In the header `Authorization`.
    Header,
    /// There, or in `?access_token=`, for browsers that watch.
    HeaderOrQuery,
    /// In the cookie of a session: a page for people, which answers in HTML and is no part of the API.
    Cookie,
}

/// One row of the table.
#[derive(Debug)]
pub struct Route {
    /// The action's name, as in the table of contract §3.
    pub name: Cow<'static, str>,
    /// Its methods.
    pub methods: &'static [Method],
    /// Its path, parameters in braces.
    pub path: Cow<'static, str>,
    /// Who may call it.
    pub who: Who,
    /// What its path names.
    pub target: Target,
    /// Whether it is for requests that ask for a WebSocket; another row of the same path is for the others.
    pub upgrades: bool,
    /// Its place in the table.
    pub(crate) index: usize,
    pub(crate) token: Token,
    pub(crate) cache: Cache,
    pub(crate) handler: Handler,
}

impl Route {
    /// Says whether it changes nothing, so that a token for reading may call it: a GET that caches may keep, a list, a
    /// preview, or a download.
    pub fn only_reads(&self) -> bool {
        let reads_by_post = [".list", ".download", ".preview"].iter().any(|end| self.name.ends_with(end));
        reads_by_post || (self.cache == Cache::Usual && self.methods == GET)
    }

    /// Says whether it is a page for people: it takes a session's cookie and nothing else, and is told apart from the API
    /// in how it refuses.
    pub fn is_page(&self) -> bool {
        self.token == Token::Cookie
    }

    /// Says whether HEAD goes where GET does (contract §1): where GET only reads, and for a node's sign of life. A probe must
    /// not take a job, nor give one back.
    pub(crate) fn takes_head(&self) -> bool {
        self.methods.contains(&Method::GET) && (self.cache == Cache::Usual || self.name == "nodes.ping")
    }

    /// Says whether it tells how the server is, which must be possible while the server is overloaded.
    pub(crate) fn is_about_the_server(&self) -> bool {
        matches!(self.name.as_ref(), "healthz" | "readyz" | "metrics")
    }

    /// Says whether the audit log keeps its calls: it changes something, and staff may call it for being staff.
    pub(crate) fn is_audited(&self) -> bool {
        let is_of_staff = match self.who {
            Who::Staff | Who::StaffOrOneself | Who::StaffOrItself | Who::StaffOrCreator => true,
            Who::User => {
                let own = ["tokens.", "pages.account."];
                own.iter().any(|beginning| self.name.starts_with(beginning))
            }
            // Outputs are added by nodes, many a second; each is a row with its creator anyway.
            Who::StaffOrHolder | Who::StaffOrLoopback => false,
            Who::Anyone | Who::Oneself | Who::Node | Who::NodeForWorkable | Who::Holder | Who::HolderOrWorker => false,
        };
        is_of_staff && !self.only_reads()
    }

    /// Says whether a call is carried out to its end when the client hangs up meanwhile: what the audit log keeps, logins
    /// among it. Else whoever hangs up at the right moment would have changed something without an entry.
    pub(crate) fn is_seen_through(&self) -> bool {
        self.is_audited() || (self.who == Who::Anyone && !self.only_reads())
    }
}

const GET: &[Method] = &[Method::GET];
const POST: &[Method] = &[Method::POST];
const PUT: &[Method] = &[Method::PUT];
const PATCH: &[Method] = &[Method::PATCH];
const DELETE: &[Method] = &[Method::DELETE];
const OPTIONS: &[Method] = &[Method::OPTIONS];
const GET_OR_POST: &[Method] = &[Method::GET, Method::POST];
const DELETE_OR_POST: &[Method] = &[Method::DELETE, Method::POST];
const GET_DELETE_OR_POST: &[Method] = &[Method::GET, Method::DELETE, Method::POST];
/// Paths that the contract names only to say that they do not exist: 405 for every method.
const NO_METHOD: &[Method] = &[];

/// Makes a row.
fn row(
    name: impl Into<Cow<'static, str>>,
    methods: &'static [Method],
    path: impl Into<Cow<'static, str>>,
    who: Who,
    target: Target,
    handler: Handler,
) -> Route {
    let (name, path) = (name.into(), path.into());
    let (upgrades, token, cache) = (false, Token::Header, Cache::Usual);
    Route { name, methods, path, who, target, upgrades, index: 0, token, cache, handler }
}

/// Makes a row for watching, by WebSocket or by events.
fn watch(name: &'static str, path: &'static str, target: Target, upgrades: bool, handler: Handler) -> Route {
    Route { upgrades, token: Token::HeaderOrQuery, ..row(name, GET, path, Who::User, target, handler) }
}

/// Makes a row of a verb that changes state, whatever its method: caches must keep nothing of it.
fn verb(
    name: &'static str,
    methods: &'static [Method],
    path: &'static str,
    who: Who,
    target: Target,
    handler: Handler,
) -> Route {
    Route { cache: Cache::Never, ..row(name, methods, path, who, target, handler) }
}

/// Makes a row of the pages. Caches are told by the pages themselves.
fn page(
    name: &'static str,
    methods: &'static [Method],
    path: &'static str,
    who: Who,
    target: Target,
    handler: Handler,
) -> Route {
    Route { token: Token::Cookie, ..row(name, methods, path, who, target, handler) }
}

/// Gives the whole table.
#[rustfmt::skip]
fn table() -> Vec<Route> {
    use Target as T;
    use Who as W;
    let mut rows = vec![
        row("healthz", GET, "/healthz", W::Anyone, T::None, |c| Box::pin(status::healthz(c))),

        row("readyz",  GET, "/readyz",  W::Anyone,          T::None, |c| Box::pin(status::readyz(c))),
        row("metrics", GET, "/metrics", W::StaffOrLoopback, T::None, |c| Box::pin(status::metrics(c))),
        row("openapi", GET, "/v1/openapi.json", W::Anyone,  T::None, |c| Box::pin(status::openapi(c))),
        row("audit",   GET, "/v1/audit", W::Staff,          T::None, |c| Box::pin(tokens::audit(c))),

        page("pages.overview", GET, "/",              W::User,   T::None, |c| Box::pin(pages::overview::show(c))),
        page("pages.overview.live", GET, "/overview/live", W::User, T::None, |c| Box::pin(pages::overview::live(c))),
        page("pages.setup",   GET,  "/setup",         W::Anyone, T::None, |c| Box::pin(pages::setup::show(c))),
        page("pages.set_up",  POST, "/setup",         W::Anyone, T::None, |c| Box::pin(pages::setup::choose(c))),
        page("pages.asset",   GET,  "/assets/{name}", W::Anyone, T::None, |c| Box::pin(pages::assets::serve(c))),
        page("pages.login",   GET,  "/login",         W::Anyone, T::None, |c| Box::pin(pages::login::show(c))),
        page("pages.log_in",  POST, "/login",         W::Anyone, T::None, |c| Box::pin(pages::login::log_in(c))),
        page("pages.log_out", POST, "/logout",        W::User,   T::None, |c| Box::pin(pages::login::log_out(c))),
        page("pages.jobs",    GET,  "/jobs",          W::User,   T::None, |c| Box::pin(pages::jobs::list(c))),
        page("pages.jobs.live",  GET, "/jobs/live",   W::User,   T::None, |c| Box::pin(pages::jobs::live(c))),
        page("pages.jobs.preview", POST, "/jobs/preview", W::Staff, T::None, |c| Box::pin(pages::jobs::chosen::preview(c))),
        page("pages.jobs.chosen", POST, "/jobs/chosen", W::Staff, T::None, |c| Box::pin(pages::jobs::chosen::carry_out(c))),
        page("pages.jobs.count", GET, "/jobs/count",  W::User,   T::None, |c| Box::pin(pages::jobs::count(c))),

        page("pages.job",          GET,  "/jobs/{pk}",          W::User, T::Job, |c| Box::pin(pages::job::show(c))),
        page("pages.job.live",     GET,  "/jobs/{pk}/live",     W::User, T::Job, |c| Box::pin(pages::job::live::follow(c))),
        page("pages.job.log",      GET,  "/jobs/{pk}/log",      W::User, T::Job, |c| Box::pin(logs::read(c))),
        page("pages.job.manifest", GET,  "/jobs/{pk}/manifest", W::User, T::Job, |c| Box::pin(bundle::manifest(c))),
        page("pages.job.archive",  GET,  "/jobs/{pk}/archive",  W::User, T::Job, |c| Box::pin(bundle::archive(c))),
        page("pages.job.unhold",   POST, "/jobs/{pk}/unhold",   W::StaffOrCreator, T::Job, |c| Box::pin(pages::job::unhold(c))),
        page("pages.output",       GET,  "/outputs/{pk}",       W::User, T::Output, |c| Box::pin(pages::preview::show(c))),
        page("pages.output.image", GET,  "/outputs/{pk}/image", W::User, T::Output, |c| Box::pin(pages::preview::image(c))),
        page("pages.output.download", GET, "/outputs/{pk}/download", W::User, T::Output, |c| Box::pin(outputs::download(c))),
        page("pages.blob",         GET,  "/blobs/{sha256}",     W::User, T::None, |c| Box::pin(blobs::get(c))),

        page("pages.submit",       GET,  "/submit",             W::User, T::None, |c| Box::pin(pages::submit::list(c))),
        page("pages.submit.form",  GET,  "/submit/{pk}",        W::User, T::Template, |c| Box::pin(pages::submit::show_form(c))),
        page("pages.submit.send",  POST, "/submit/{pk}",        W::User, T::Template, |c| Box::pin(pages::submit::send(c))),
        page("pages.upload",       POST, "/uploads",            W::User, T::None, |c| Box::pin(pages::submit::upload(c))),
        page("pages.nodes",        GET,  "/nodes",              W::User, T::None, |c| Box::pin(pages::nodes::list(c))),
        page("pages.nodes.live",   GET,  "/nodes/live",         W::User, T::None, |c| Box::pin(pages::nodes::live(c))),
        page("pages.node",         GET,  "/nodes/{pk}",         W::User, T::Node, |c| Box::pin(pages::nodes::show(c))),
        page("pages.node.live",    GET,  "/nodes/{pk}/live",    W::User, T::Node, |c| Box::pin(pages::nodes::live_one(c))),
        page("pages.users",        GET,  "/users",              W::Staff, T::None, |c| Box::pin(pages::people::list(c))),
        page("pages.users.create", POST, "/users",              W::Staff, T::None, |c| Box::pin(pages::people::create(c))),
        page("pages.user",         GET,  "/users/{pk}",         W::Staff, T::User, |c| Box::pin(pages::people::show(c))),
        page("pages.user.change",  POST, "/users/{pk}",         W::Staff, T::User, |c| Box::pin(pages::people::change(c))),
        page("pages.user.tokens",  POST, "/users/{pk}/tokens",  W::Staff, T::User, |c| Box::pin(pages::people::tokens::make_for_another(c))),
        page("pages.account",      GET,  "/account",            W::User, T::None, |c| Box::pin(pages::people::account::show(c))),
        page("pages.account.password", POST, "/account/password", W::User, T::None, |c| Box::pin(pages::people::account::change_password(c))),
        page("pages.account.tokens", POST, "/account/tokens",   W::User, T::None, |c| Box::pin(pages::people::tokens::make_for_oneself(c))),
        page("pages.tokens.revoke", POST, "/tokens/{pk}/revoke", W::StaffOrOneself, T::Token, |c| Box::pin(pages::people::tokens::revoke(c))),

        row("auth.obtain",  POST, "/v1/auth/obtain",  W::Anyone, T::None, |c| Box::pin(auth::obtain(c))),
        row("auth.refresh", POST, "/v1/auth/refresh", W::Anyone, T::None, |c| Box::pin(auth::refresh(c))),
        row("auth.verify",  POST, "/v1/auth/verify",  W::Anyone, T::None, |c| Box::pin(auth::verify(c))),
        row("auth.whoami",  GET,  "/v1/auth/whoami",  W::User,   T::None, |c| Box::pin(auth::whoami(c))),
        row("tokens.create", POST,  "/v1/auth/tokens",  W::User, T::None, |c| Box::pin(tokens::create(c))),
        row("tokens.list",   GET,   "/v1/auth/tokens",  W::User, T::None, |c| Box::pin(tokens::list(c))),
        row("tokens.revoke", DELETE, "/v1/auth/tokens/{pk}", W::StaffOrOneself, T::Token, |c| Box::pin(tokens::revoke(c))),

        row("users.list",           POST,   "/v1/users/list",   W::Staff,          T::None, |c| Box::pin(users::list(c))),
        row("users.create",         POST,   "/v1/users/create", W::Staff,          T::None, |c| Box::pin(users::create(c))),
        row("users.retrieve",       GET,    "/v1/users/{key}",  W::StaffOrOneself, T::User, |c| Box::pin(users::retrieve(c))),
        row("users.update",         PUT,    "/v1/users/{key}",  W::Staff,          T::User, |c| Box::pin(users::update(c))),
        row("users.partial_update", PATCH,  "/v1/users/{key}",  W::Staff,          T::User, |c| Box::pin(users::partial_update(c))),
        row("users.deactivate",     DELETE, "/v1/users/{key}",  W::Staff,          T::User, |c| Box::pin(users::deactivate(c))),

        row("nodes.list",           POST,   "/v1/nodes/list",   W::User,          T::None, |c| Box::pin(nodes::list(c))),
        row("nodes.create",         POST,   "/v1/nodes/create", W::User,          T::None, |c| Box::pin(nodes::create(c))),
        verb("nodes.ping",          GET,    "/v1/nodes/ping",   W::Node,          T::None, |c| Box::pin(nodes::ping(c))),
        row("nodes.retrieve",       GET,    "/v1/nodes/{pk}",   W::User,          T::Node, |c| Box::pin(nodes::retrieve(c))),
        row("nodes.update",         PUT,    "/v1/nodes/{pk}",   W::StaffOrItself, T::Node, |c| Box::pin(nodes::update(c))),
        row("nodes.partial_update", PATCH,  "/v1/nodes/{pk}",   W::StaffOrItself, T::Node, |c| Box::pin(nodes::partial_update(c))),
        row("nodes.destroy",        DELETE, "/v1/nodes/{pk}",   W::StaffOrItself, T::Node, |c| Box::pin(nodes::destroy(c))),

        row("hardware.by_compute_capability", GET, "/v1/hardware/get-hardware-generation/{compute}", W::User, T::None, |c| Box::pin(catalogue::by_compute_capability(c))),
        row("job-types.all_values", GET, "/v1/job-types/get-all-values/{type}", W::User, T::None, |c| Box::pin(templates::all_values(c))),

        row("job-templates.list",           POST,   "/v1/job-templates/list",                    W::User,  T::None,     |c| Box::pin(templates::list(c))),
        row("job-templates.create",         NO_METHOD, "/v1/job-templates/create",               W::Staff, T::None,     |c| Box::pin(status::nothing(c))),
        row("job-templates.import",         POST,   "/v1/job-templates/import",                  W::Staff, T::None,     |c| Box::pin(templates::import(c))),
        row("job-templates.matching",       GET,    "/v1/job-templates/get-all-matching-templates/{contract}", W::User, T::None, |c| Box::pin(templates::matching(c))),
        row("job-templates.retrieve",       GET,    "/v1/job-templates/{pk}",                    W::User,  T::Template, |c| Box::pin(templates::retrieve(c))),
        row("job-templates.destroy",        DELETE, "/v1/job-templates/{pk}",                    W::Staff, T::Template, |c| Box::pin(templates::destroy(c))),
        verb("job-templates.hard",          DELETE, "/v1/job-templates/{pk}/hard",               W::Staff, T::Template, |c| Box::pin(templates::hard(c))),
        verb("job-templates.reinstate",     DELETE_OR_POST, "/v1/job-templates/{pk}/reinstate",  W::Staff, T::Template, |c| Box::pin(templates::reinstate(c))),
        row("job-templates.export",         GET,    "/v1/job-templates/{pk}/export",             W::Staff, T::Template, |c| Box::pin(templates::export(c))),
        row("job-templates.create_job",     POST,   "/v1/job-templates/{pk}/create-job",         W::User,  T::Template, |c| Box::pin(jobs::create(c))),
        row("job-templates.all_parameters", GET,    "/v1/job-templates/{pk}/get-all-parameters", W::User,  T::Template, |c| Box::pin(templates::all_parameters_of(c))),
        row("job-templates.types",          GET,    "/v1/job-templates/{pk}/get-types",          W::User,  T::Template, |c| Box::pin(templates::types(c))),
        row("job-templates.outputs",        GET,    "/v1/job-templates/{pk}/get-outputs",        W::User,  T::Template, |c| Box::pin(templates::outputs(c))),

        row("jobs.list",           POST,   "/v1/jobs/list",           W::User,            T::None, |c| Box::pin(jobs::list(c))),
        row("jobs.create",         NO_METHOD, "/v1/jobs/create",      W::Staff,           T::None, |c| Box::pin(status::nothing(c))),
        row("jobs.retrieve",       GET,    "/v1/jobs/{pk}",           W::User,            T::Job,  |c| Box::pin(jobs::retrieve(c))),
        watch("jobs.watch",               "/v1/jobs/{pk}",           T::Job,  true,  |c| Box::pin(websocket::watch(c))),
        watch("jobs.events",              "/v1/jobs/{pk}/events",    T::Job,  false, |c| Box::pin(sse::of_job(c))),
        watch("events",                   "/v1/events",              T::None, false, |c| Box::pin(sse::of_all(c))),
        row("jobs.update",         PUT,    "/v1/jobs/{pk}",           W::Staff,           T::Job,  |c| Box::pin(jobs::update(c))),
        row("jobs.partial_update", PATCH,  "/v1/jobs/{pk}",           W::Staff,           T::Job,  |c| Box::pin(jobs::partial_update(c))),
        row("jobs.destroy",        DELETE, "/v1/jobs/{pk}",           W::Staff,           T::Job,  |c| Box::pin(jobs::destroy(c))),
        verb("jobs.hard",          DELETE, "/v1/jobs/{pk}/hard",      W::Staff,           T::Job,  |c| Box::pin(jobs::hard(c))),
        verb("jobs.reinstate",     DELETE_OR_POST, "/v1/jobs/{pk}/reinstate", W::Staff,   T::Job,  |c| Box::pin(jobs::reinstate(c))),
        verb("jobs.acquire",       GET_OR_POST, "/v1/jobs/{pk}/acquire", W::NodeForWorkable, T::Job, |c| Box::pin(jobs::acquire(c))),
        verb("jobs.release",       GET_DELETE_OR_POST, "/v1/jobs/{pk}/release", W::HolderOrWorker, T::Job, |c| Box::pin(jobs::release(c))),
        verb("jobs.start",         POST,   "/v1/jobs/{pk}/start",     W::Holder,          T::Job,  |c| Box::pin(jobs::start(c))),
        verb("jobs.progress",      POST,   "/v1/jobs/{pk}/progress/{progress}", W::Holder, T::Job,  |c| Box::pin(jobs::progress(c))),
        verb("jobs.finish",        POST,   "/v1/jobs/{pk}/finish",    W::HolderOrWorker,  T::Job,  |c| Box::pin(jobs::finish(c))),
        verb("jobs.reset",         DELETE_OR_POST, "/v1/jobs/{pk}/reset",  W::Holder,     T::Job,  |c| Box::pin(jobs::reset(c))),
        verb("jobs.abort",         DELETE_OR_POST, "/v1/jobs/{pk}/abort",  W::Staff,      T::Job,  |c| Box::pin(jobs::abort(c))),
        verb("jobs.cancel",        DELETE_OR_POST, "/v1/jobs/{pk}/cancel", W::Staff,      T::Job,  |c| Box::pin(jobs::cancel(c))),
        row("jobs.add_output",     POST,   "/v1/jobs/{pk}/outputs/{name}/{type}", W::StaffOrHolder, T::Job, |c| Box::pin(outputs::add(c))),
        row("jobs.get_output",     GET,    "/v1/jobs/{pk}/outputs/{name}/{type}", W::User,  T::Job, |c| Box::pin(outputs::get(c))),
        row("jobs.delete_output",  DELETE, "/v1/jobs/{pk}/outputs/{name}/{type}", W::Staff, T::Job, |c| Box::pin(outputs::delete(c))),
        verb("jobs.claim",         POST,   "/v1/jobs/claim",          W::Node,            T::None, |c| Box::pin(claims::claim(c))),
        verb("jobs.unhold",        POST,   "/v1/jobs/{pk}/unhold",    W::StaffOrCreator,  T::Job,  |c| Box::pin(claims::unhold(c))),
        row("jobs.attempts",       GET,    "/v1/jobs/{pk}/attempts",  W::User,            T::Job,  |c| Box::pin(claims::attempts(c))),
        row("jobs.append_log",     POST,   "/v1/jobs/{pk}/log",       W::Holder,          T::Job,  |c| Box::pin(logs::append(c))),
        row("jobs.read_log",       GET,    "/v1/jobs/{pk}/log",       W::User,            T::Job,  |c| Box::pin(logs::read(c))),
        row("jobs.manifest",       GET,    "/v1/jobs/{pk}/manifest",  W::User,            T::Job,  |c| Box::pin(bundle::manifest(c))),
        row("jobs.archive",        GET,    "/v1/jobs/{pk}/archive",   W::User,            T::Job,  |c| Box::pin(bundle::archive(c))),
        row("jobs.get_output_info", GET,   "/v1/jobs/{pk}/outputs/{name}/{type}/info", W::User, T::Job, |c| Box::pin(outputs::info(c))),

        row("job-outputs.list",      POST,   "/v1/job-outputs/list",          W::User,  T::None,   |c| Box::pin(outputs::list(c))),
        row("job-outputs.create",    NO_METHOD, "/v1/job-outputs/create",     W::Staff, T::None,   |c| Box::pin(status::nothing(c))),
        row("job-outputs.retrieve",  GET,    "/v1/job-outputs/{pk}",          W::User,  T::Output, |c| Box::pin(outputs::retrieve(c))),
        row("job-outputs.download",  GET_OR_POST, "/v1/job-outputs/{pk}/download", W::User, T::Output, |c| Box::pin(outputs::download(c))),
        row("job-outputs.destroy",   DELETE, "/v1/job-outputs/{pk}",          W::Staff, T::Output, |c| Box::pin(outputs::destroy(c))),
        verb("job-outputs.hard",     DELETE, "/v1/job-outputs/{pk}/hard",     W::Staff, T::Output, |c| Box::pin(outputs::hard(c))),
        verb("job-outputs.reinstate", DELETE_OR_POST, "/v1/job-outputs/{pk}/reinstate", W::Staff, T::Output, |c| Box::pin(outputs::reinstate(c))),

        row("blobs.put", PUT, "/v1/blobs/{sha256}", W::User, T::None, |c| Box::pin(blobs::put(c))),
        row("blobs.get", GET, "/v1/blobs/{sha256}", W::User, T::None, |c| Box::pin(blobs::get(c))),
        // Uploads begin here, and, for outputs, at `jobs.add_output` with the header Tus-Resumable.
        row("blobs.upload", POST, "/v1/blobs",      W::User, T::None, |c| Box::pin(uploads::begin_blob(c))),
        row("uploads.discover",  OPTIONS, "/v1/uploads",   W::Anyone,  T::None,   |c| Box::pin(uploads::discover(c))),
        row("uploads.list",      GET,     "/v1/uploads",   W::User,    T::None,   |c| Box::pin(uploads::list(c))),
        row("uploads.retrieve",  GET,     "/v1/uploads/{pk}", W::StaffOrOneself, T::Upload, |c| Box::pin(uploads::retrieve(c))),
        row("uploads.append",    PATCH,   "/v1/uploads/{pk}", W::Oneself,        T::Upload, |c| Box::pin(uploads::append(c))),
        row("uploads.override",  POST,    "/v1/uploads/{pk}", W::Oneself,        T::Upload, |c| Box::pin(uploads::overridden(c))),
        row("uploads.terminate", DELETE,  "/v1/uploads/{pk}", W::StaffOrOneself, T::Upload, |c| Box::pin(uploads::terminate(c))),
    ];
    for catalogue in CATALOGUES {
        for spelling in catalogue.spellings {
            let name = |action: &str| format!("{spelling}.{action}");
            let path = |tail: &str| format!("/v1/{spelling}/{tail}");
            let one = T::Row(catalogue);
            // The list and create rows carry the catalogue as well: it is how their handlers know whose they are.
            rows.extend([
                row(name("list"),           POST,   path("list"),   W::User,  one, |c| Box::pin(catalogue::list(c))),
                row(name("create"),         POST,   path("create"), W::Staff, one, |c| Box::pin(catalogue::create(c))),
                row(name("retrieve"),       GET,    path("{pk}"),   W::User,  one, |c| Box::pin(catalogue::retrieve(c))),
                row(name("update"),         PUT,    path("{pk}"),   W::Staff, one, |c| Box::pin(catalogue::update(c))),
                row(name("partial_update"), PATCH,  path("{pk}"),   W::Staff, one, |c| Box::pin(catalogue::partial_update(c))),
                row(name("destroy"),        DELETE, path("{pk}"),   W::Staff, one, |c| Box::pin(catalogue::destroy(c))),
            ]);
        }
    }
    for (index, row) in rows.iter_mut().enumerate() {
        row.index = index;
    }
    rows
}

/// The table, made once.
pub static ROUTES: std::sync::LazyLock<Vec<Route>> = std::sync::LazyLock::new(table);
