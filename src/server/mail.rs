//! Hands e-mails to a mail server by SMTP, one recipient at a time.

use std::time::Duration;

use lettre::address::Envelope;
use lettre::message::header::{Cc, ContentType, From, MIME_VERSION_1_0, To};
use lettre::message::{Mailbox, Mailboxes};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::{SMTP_PORT, SUBMISSION_PORT, SUBMISSIONS_PORT};
use lettre::{Address, Message};

use crate::store::mail::QueuedMail;

/// How long saying goodbye to the mail server may take; the e-mail is its own by then.
const GOODBYE_MAX: Duration = Duration::from_secs(5);

/// How the way to the mail server is kept private.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SmtpTls {
    /// Not at all: for a server on this machine, or on a network that is private itself.
    None,
    /// By STARTTLS, without which nothing is sent.
    Starttls,
    /// By TLS from the first byte.
    Tls,
}

/// The mail server, and as whom to send.
#[derive(Clone)]
pub struct MailSettings {
    /// Its name, which its certificate has to bear.
    pub host: String,
    /// Its port; without one, 25, 587 (STARTTLS) or 465 (TLS).
    pub port: Option<u16>,
    /// How the way to it is kept private. Certificates are trusted as the system trusts them.
    pub tls: SmtpTls,
    /// User name and password, if it wants them.
    pub credentials: Option<(String, String)>,
    /// The sender, such as `labrun@lab.example` or `Lab 3 <lab3@lab.example>`.
    pub from: String,
    /// How long handing over one e-mail may take.
    pub timeout: Duration,
}

/// Why an e-mail was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The server can't be reached, or does not want to talk to us: no use to try another e-mail now.
    #[error("the mail server can't be used: {0}")]
    Server(String),
    /// It does not take this e-mail for this recipient, at least now.
    #[error("the mail server refuses it: {0}")]
    Refused(String),
    /// No server can take it.
    #[error("it can't be written: {0}")]
    Unsendable(String),
}

/// Sends e-mails.
pub(super) struct Mailer {
    host: String,
    port: u16,
    tls: SmtpTls,
    parameters: Option<TlsParameters>,
    credentials: Option<Credentials>,
    from: Mailbox,
    hello: ClientId,
    timeout: Duration,
}

impl Mailer {
    /// Takes the settings apart.
    ///
    /// # Errors
    /// A sentence, when the sender is no address, or the system's certificates can't be read.
    pub(super) fn new(settings: MailSettings) -> Result<Self, String> {
        let MailSettings { host, port, tls, credentials, from, timeout } = settings;
        let from = from.parse().map_err(|error| format!("{from:?} is not an e-mail address: {error}"))?;
        let (port_by_tls, encrypted) = match tls {
            SmtpTls::None => (SMTP_PORT, false),
            SmtpTls::Starttls => (SUBMISSION_PORT, true),
            SmtpTls::Tls => (SUBMISSIONS_PORT, true),
        };
        let parameters = encrypted
            .then(|| TlsParameters::new(host.clone()))
            .transpose()
            .map_err(|error| format!("TLS can't be set up: {error}"))?;
        Ok(Self {
            host,
            port: port.unwrap_or(port_by_tls),
            tls,
            parameters,
            credentials: credentials.map(|(user, password)| Credentials::new(user, password)),
            from,
            hello: ClientId::default(),
            timeout,
        })
    }

    /// Hands an e-mail over for its recipient. A yes means that the server has it.
    pub(super) async fn send(&self, mail: &QueuedMail) -> Result<(), Failure> {
        let (envelope, text) = self.compose(mail)?;
        let handed_over = async {
            let mut connection = self.connect().await.map_err(|error| Failure::Server(error.to_string()))?;
            connection.send(&envelope, &text).await.map_err(|error| {
                // With a status it is the server's word about this e-mail; without one, the connection failed.
                let about_the_mail = error.status().is_some() || error.is_client();
                if about_the_mail { Failure::Refused(error.to_string()) } else { Failure::Server(error.to_string()) }
            })?;
            Ok(connection)
        };
        let mut connection = tokio::time::timeout(self.timeout, handed_over)
            .await
            .unwrap_or_else(|_| Err(Failure::Server(format!("no end within {:?}", self.timeout))))?;
        // A server that is slow to say goodbye has the e-mail all the same: to wait could only lead to a double.
        tokio::spawn(async move { drop(tokio::time::timeout(GOODBYE_MAX, connection.abort()).await) });
        Ok(())
    }

    /// Opens a connection over which e-mails can be sent.
    async fn connect(&self) -> Result<AsyncSmtpConnection, lettre::transport::smtp::Error> {
        let at_once = if self.tls == SmtpTls::Tls { self.parameters.clone() } else { None };
        let server = (self.host.as_str(), self.port);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(server, Some(self.timeout), &self.hello, at_once, None).await?;
        if self.tls == SmtpTls::Starttls
            && let Some(parameters) = self.parameters.clone()
        {
            connection.starttls(parameters, &self.hello).await?;
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(&[Mechanism::Plain, Mechanism::Login], credentials).await?;
        }
        Ok(connection)
    }

    /// Writes an e-mail as it goes over the wire.
    fn compose(&self, mail: &QueuedMail) -> Result<(Envelope, Vec<u8>), Failure> {
        let unsendable = |error: &dyn std::fmt::Display| Failure::Unsendable(error.to_string());
        let recipient = mail.recipient.parse::<Address>().map_err(|error| unsendable(&error))?;
        let envelope =
            Envelope::new(Some(self.from.email.clone()), vec![recipient]).map_err(|error| unsendable(&error))?;
        // The same for every attempt, so that whoever gets an e-mail twice can tell.
        let id = format!("<labrun.{}.{}@{}>", mail.created.0, mail.mail, self.from.email.domain());
        let time = u64::try_from(mail.created.as_seconds()).unwrap_or_default();
        let mut builder = Message::builder()
            .envelope(envelope.clone())
            .mailbox(From::from(Mailboxes::from(self.from.clone())))
            .date(std::time::UNIX_EPOCH + Duration::from_secs(time))
            .message_id(Some(id))
            .subject(mail.subject.as_str())
            // Without it a reader need not heed the type and the encoding of the text.
            .header(MIME_VERSION_1_0)
            .header(ContentType::TEXT_PLAIN);
        let (to, cc) = (shown(&mail.to), shown(&mail.cc));
        if to.iter().next().is_some() {
            builder = builder.mailbox(To::from(to));
        }
        if cc.iter().next().is_some() {
            builder = builder.mailbox(Cc::from(cc));
        }
        let message = builder.body(mail.body.clone()).map_err(|error| unsendable(&error))?;
        Ok((envelope, message.formatted()))
    }
}

/// Gives the addresses of a header; those that are none are left out, and given up as recipients.
fn shown(addresses: &[String]) -> Mailboxes {
    addresses.iter().filter_map(|text| Some(Mailbox::new(None, text.parse().ok()?))).collect()
}
