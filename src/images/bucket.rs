//! A bucket of S3 or of what speaks its language: how it is opened, and what its errors mean for the operator.

use super::{ImageError, Options, Settings, options::Checksum};
use crate::outbound;
use opendal::{
    ErrorKind, HttpTransporter, OperationContext, Operator,
    layers::{RetryLayer, TimeoutLayer},
    services::S3,
};
use opendal_http_transport_reqwest::ReqwestTransport;
use std::{error::Error as _, time::Duration};

/// Longest time of a request that moves no image: a look, a deletion.
const ANSWER: Duration = Duration::from_secs(10);
/// Longest time of a request that moves a part of an image.
const TRANSFER: Duration = Duration::from_secs(30);
const TRIES: usize = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Which bucket it is, for messages.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    name: String,
    endpoint: String,
}

/// Opens the bucket; nothing is asked of it yet.
pub(super) fn open(settings: &Settings) -> Result<(Operator, Bucket), ImageError> {
    let options = &settings.options;
    let refuse = |path: &str, why: String| ImageError::Storage(format!("`storage.{path}`: {why}"));
    let authorities = options.ca_file.as_ref().map(|file| {
        std::fs::read(file).map_err(|e| refuse("options.ca_file", format!("`{file}` cannot be read: {e}")))
    });
    let authorities = authorities.transpose()?;
    let client =
        outbound::storage(authorities.as_deref()).map_err(|e| refuse("options.ca_file", e.to_string()))?;
    let name = options.bucket.clone().unwrap_or_default();
    let endpoint = endpoint(settings);
    let service = service(settings, &name);
    let operator = Operator::new(service).map_err(|e| refuse("options", e.message().to_owned()))?;
    let transport = HttpTransporter::new(ReqwestTransport::new(client));
    let retry = RetryLayer::new()
        .with_jitter()
        .with_max_times(TRIES)
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE);
    let operator = operator
        .with_context(OperationContext::new().with_http_transport(transport))
        .layer(TimeoutLayer::new().with_timeout(ANSWER).with_io_timeout(TRANSFER))
        .layer(retry);
    Ok((operator, Bucket { name, endpoint }))
}

/// Where the service is.
fn endpoint(settings: &Settings) -> String {
    let options = &settings.options;
    match (&options.endpoint, &options.account_id) {
        (Some(endpoint), _) => endpoint.trim_end_matches('/').to_owned(),
        (None, Some(account)) => format!("https://{account}.r2.cloudflarestorage.com"),
        (None, None) => format!("https://s3.{}.amazonaws.com", options.region.as_deref().unwrap_or_default()),
    }
}

fn service(settings: &Settings, bucket: &str) -> S3 {
    let options: &Options = &settings.options;
    let own = settings.kind == "r2" || options.endpoint.is_some();
    let region = match &options.region {
        Some(region) => region,
        None if settings.kind == "r2" => "auto",
        None => "us-east-1",
    };
    let mut service = S3::default().bucket(bucket).region(region).endpoint(&endpoint(settings));
    if let Some(root) = &options.root {
        service = service.root(root);
    }
    if !options.path_style.unwrap_or(own) {
        service = service.enable_virtual_host_style();
    }
    if let Some(checksum) = options.checksum {
        service = service.checksum_algorithm(match checksum {
            Checksum::Crc32c => "crc32c",
            Checksum::Md5 => "md5",
        });
    }
    if options.access_key_id.is_empty() {
        // Amazon's own search for credentials.
        return service;
    }
    let service = service
        .disable_config_load()
        .disable_ec2_metadata()
        .access_key_id(options.access_key_id.expose())
        .secret_access_key(options.secret_access_key.expose());
    match options.session_token.expose() {
        "" => service,
        token => service.session_token(token),
    }
}

/// The service's own word for what is wrong, such as `NoSuchBucket`. The error has it only in its text.
pub(super) fn code(error: &opendal::Error) -> Option<&str> {
    error.message().strip_prefix("S3Error { code: \"")?.split('"').next().filter(|code| !code.is_empty())
}

impl Bucket {
    /// A sentence that names what is wrong and what helps.
    pub fn explain(&self, error: &opendal::Error) -> String {
        let Bucket { name, endpoint } = self;
        match (code(error), error.kind()) {
            (Some("NoSuchBucket"), _) => format!(
                "there is no bucket `{name}` at {endpoint}; make it, or correct `storage.options.bucket`"
            ),
            (Some("InvalidAccessKeyId" | "NotSignedUp"), _) => {
                format!("{endpoint} does not know the access key; correct `storage.options.access_key_id`")
            }
            (Some("SignatureDoesNotMatch"), _) => format!(
                "{endpoint} finds the signature wrong; correct `storage.options.secret_access_key` (and the endpoint, \
                 where a proxy is in between)"
            ),
            (Some("RequestTimeTooSkewed" | "RequestExpired"), _) => {
                format!(
                    "the clocks of this machine and of {endpoint} differ too much; set this one's, best by NTP"
                )
            }
            (Some("ExpiredToken" | "InvalidToken" | "TokenRefreshRequired"), _) => format!(
                "{endpoint} does not take the session token any more; renew `storage.options.session_token`"
            ),
            (
                Some(
                    "AuthorizationHeaderMalformed"
                    | "PermanentRedirect"
                    | "TemporaryRedirect"
                    | "InvalidRegion"
                    | "IllegalLocationConstraintException",
                ),
                _,
            ) => format!(
                "the bucket `{name}` is in another region; correct `storage.options.region` or `endpoint`"
            ),
            (Some("SlowDown" | "ServiceUnavailable" | "TooManyRequests"), _) => {
                format!("{endpoint} asks to slow down")
            }
            (Some("AccessDenied" | "AllAccessDisabled" | "Unauthorized" | "AccountProblem"), _)
            | (None, ErrorKind::PermissionDenied) => format!(
                "the credentials may not {} the bucket `{name}`; give them the rights to read, write, delete and list \
                 its objects",
                doing(error)
            ),
            (Some(code), _) => format!("{endpoint} answers {code}: {}", said(error)),
            (None, _) => self.unanswered(error),
        }
    }

    fn unanswered(&self, error: &opendal::Error) -> String {
        let Bucket { endpoint, .. } = self;
        let text = error.to_string();
        if text.contains("timeout reached") {
            return format!("{endpoint} gives no answer in time");
        }
        if text.contains("credential") {
            return "there are no credentials for the bucket; set `storage.options.access_key_id` and \
                    `secret_access_key`"
                .into();
        }
        let mut cause = error.message().to_owned();
        let mut source = error.source();
        while let Some(inner) = source {
            cause = inner.to_string();
            source = inner.source();
        }
        match error.message() {
            "send http request" => format!("{endpoint} cannot be reached: {cause}"),
            "" => format!("{endpoint} refuses, and does not say why"),
            _ => format!("{endpoint}: {}", cause.chars().take(300).collect::<String>()),
        }
    }
}

/// What was tried; the error has it only in its text.
fn doing(error: &opendal::Error) -> &'static str {
    let text = error.to_string();
    let operation = text.split("service_operation: ").nth(1).unwrap_or_default();
    match operation.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default() {
        "PutObject" | "CreateMultipartUpload" | "UploadPart" | "CompleteMultipartUpload" => "write to",
        "DeleteObject" | "DeleteObjects" => "delete from",
        "ListObjects" | "ListObjectsV1" | "ListObjectsV2" => "list",
        "GetObject" | "HeadObject" => "read from",
        _ => "use",
    }
}

/// The message in the service's answer.
fn said(error: &opendal::Error) -> String {
    let text = error.message().split("message: \"").nth(1).unwrap_or_default();
    text.split("\", resource: ").next().unwrap_or_default().replace("\\\"", "\"")
}
