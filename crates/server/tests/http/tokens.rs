//! Tokens that somebody else signs: which are taken, and all that are not. Keys and signatures are
//! made here, by hand, so that a token can be wrong in every way.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
        RsaKeyPair,
    },
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use serde_json::{Value, json};
use server::auth::{authenticator::Authenticator, jwt_settings::JwtSettings};
use store::Store;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::served::{Answer, Served, answer, served_to};

/// One of each kind that is taken.
enum Signer {
    Rsa(Box<RsaKeyPair>),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Signer {
    fn rsa() -> Self {
        let size = aws_lc_rs::rsa::KeySize::Rsa2048;
        Self::Rsa(Box::new(RsaKeyPair::generate(size).unwrap()))
    }

    fn ec() -> Self {
        Self::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn ed() -> Self {
        Self::Ed(Ed25519KeyPair::generate().unwrap())
    }

    fn alg(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Ec(_) => "ES256",
            Self::Ed(_) => "EdDSA",
        }
    }

    fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::Rsa(pair) => {
                let n =
                    BASE64.encode(pair.public_key().modulus().big_endian_without_leading_zero());
                let e =
                    BASE64.encode(pair.public_key().exponent().big_endian_without_leading_zero());
                json!({"kty": "RSA", "use": "sig", "kid": kid, "n": n, "e": e})
            }
            Self::Ec(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = (BASE64.encode(&point[1..33]), BASE64.encode(&point[33..]));
                json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": kid, "x": x, "y": y})
            }
            Self::Ed(pair) => {
                let x = BASE64.encode(pair.public_key().as_ref());
                json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x})
            }
        }
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
            Self::Ec(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    fn token(&self, kid: &str, claims: &Value) -> String {
        let header = json!({"alg": self.alg(), "typ": "JWT", "kid": kid});
        signed(&header, claims, |message| self.signature(message))
    }
}

fn signed(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let part = |value: &Value| BASE64.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    format!("{message}.{}", BASE64.encode(sign(message.as_bytes())))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn claims() -> Value {
    json!({
        "iss": "https://issuer.example", "aud": "openintern", "exp": now() + 600,
        "org_id": "org_a", "sub": "user_a", "scope": "openid runs:read runs:write",
    })
}

fn claims_but(changes: Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn settings() -> JwtSettings {
    JwtSettings {
        issuer: "https://issuer.example".into(),
        audience: "openintern".into(),
        ..JwtSettings::default()
    }
}

/// A server that takes tokens of these keys, which it reads from a file.
async fn served_to_holders_of(jwks: Value) -> Served {
    served_to(async |store| taking(jwks, store).await).await
}

async fn taking(jwks: Value, store: Store) -> Authenticator {
    let path = std::env::temp_dir().join(format!("openintern-jwks-{}", uuid::Uuid::now_v7()));
    std::fs::write(&path, jwks.to_string()).unwrap();
    let settings = JwtSettings { jwks_file: Some(path.clone()), ..settings() };
    let authenticator = Authenticator::jwt(settings, store).await.unwrap();
    std::fs::remove_file(path).unwrap();
    authenticator
}

async fn ask(served: &Served, token: &str) -> Answer {
    answer(served.bare("GET", "/api/runs").bearer_auth(token)).await
}

#[tokio::test]
async fn the_three_algorithms_are_taken_and_claims_say_who_asks() {
    let signers = [("r", Signer::rsa()), ("c", Signer::ec()), ("d", Signer::ed())];
    let jwks: Vec<_> = signers.iter().map(|(kid, signer)| signer.jwk(kid)).collect();
    let served = served_to_holders_of(json!({"keys": jwks})).await;
    for (kid, signer) in &signers {
        ask(&served, &signer.token(kid, &claims())).await.expect(200);
        // Signed by another key than it says, of the same kind or not.
        for (other, _) in signers.iter().filter(|(other, _)| other != kid) {
            ask(&served, &signer.token(other, &claims())).await.refused(401, "unauthorized");
        }
    }
    let signer = &signers[2].1;
    let token = |changes| signer.token("d", &claims_but(changes));
    let as_user = token(json!({"project_id": "p", "scope": ["runs:read", "runs:write"]}));
    let create = served.bare("POST", "/api/runs").bearer_auth(&as_user);
    let run = answer(create.json(&json!({"input": "a"}))).await.expect(201);
    let path = format!("/api/runs/{}", run["run_id"].as_str().unwrap());
    let get = async |token: &str, query: &str| {
        answer(served.bare("GET", &format!("{path}{query}")).bearer_auth(token)).await
    };
    get(&as_user, "").await.expect(200);
    get(&token(json!({})), "").await.refused(404, "not_found");
    get(&token(json!({})), "?project_id=p").await.expect(200);
    get(&token(json!({"sub": "user_b"})), "?project_id=p").await.refused(404, "not_found");
    get(&as_user, "?user_id=user_b").await.refused(403, "scope_mismatch");
    get(&as_user, "?org_id=org_b").await.refused(403, "scope_mismatch");
    for none in [json!({"scope": "openid email"}), json!({"scope": 7}), json!({"scope": null})] {
        get(&token(none), "").await.refused(403, "forbidden");
    }
    let admin = token(json!({"scope": "admin"}));
    let audit = answer(served.bare("GET", "/api/audit").bearer_auth(&admin)).await.expect(200);
    assert_eq!(audit["records"][0]["actor"], "user_a");
}

#[tokio::test]
async fn a_login_stands_for_a_token_and_ends_with_it_and_with_the_key_that_signed_it() {
    let signer = Signer::ed();
    let served = served_to_holders_of(json!({"keys": [signer.jwk("d")]})).await;
    let token = signer.token("d", &claims_but(json!({"exp": now() + 600})));
    let logged_in = served.bare("POST", "/api/login").json(&json!({"key": token}));
    let logged_in = answer(logged_in).await;
    assert_eq!(logged_in.status, 204, "{}", logged_in.text);
    let cookie = logged_in.header("set-cookie").to_owned();
    assert!(cookie.starts_with("openintern_login=oil_") && !cookie.contains(&token), "{cookie}");
    let age_s = cookie.split("Max-Age=").nth(1).unwrap().split(';').next().unwrap();
    let age_s: u64 = age_s.parse().unwrap();
    assert!((600..=660).contains(&age_s), "as long as the token and its leeway: {cookie}");

    let cookie = cookie.split(';').next().unwrap();
    let list = || served.bare("GET", "/api/runs").header("cookie", cookie);
    answer(list()).await.expect(200);
    answer(list().header("x-user-id", "user_b")).await.refused(403, "scope_mismatch");
    let audit = served.bare("GET", "/api/audit").header("cookie", cookie);
    answer(audit).await.refused(403, "forbidden");

    // Neither another set of keys nor another kind of credential takes it.
    let other_keys = json!({"keys": [Signer::ed().jwk("e")]});
    for authenticator in
        [taking(other_keys, served.store.clone()).await, Authenticator::keys(served.store.clone())]
    {
        let other = served.beside(authenticator).await;
        let asked = reqwest::Client::new().get(format!("http://{other}/api/runs"));
        answer(asked.header("cookie", cookie)).await.refused(401, "unauthorized");
    }
    let logged_out = served.bare("POST", "/api/logout").header("cookie", cookie);
    assert_eq!(answer(logged_out).await.status, 204);
    answer(list()).await.refused(401, "unauthorized");
}

#[tokio::test]
async fn a_token_that_is_not_what_it_must_be_is_refused() {
    let signer = Signer::ed();
    let rsa = Signer::rsa();
    let jwks = json!({"keys": [signer.jwk("d"), rsa.jwk("r")]});
    let served = served_to_holders_of(jwks.clone()).await;
    let good = signer.token("d", &claims());
    ask(&served, &good).await.expect(200);
    let with = |changes| signer.token("d", &claims_but(changes));
    ask(&served, &with(json!({"aud": ["other", "openintern"]}))).await.expect(200);
    for issuer in [
        json!(["https://issuer.example"]),
        json!(["https://evil.example", "https://issuer.example"]),
        json!([]),
        json!({"https://issuer.example": 1}),
    ] {
        let refused = ask(&served, &with(json!({"iss": issuer}))).await;
        refused.refused(401, "unauthorized");
    }
    // Within the leeway of 60 s.
    ask(&served, &with(json!({"exp": now() - 20, "nbf": now() + 20}))).await.expect(200);

    let head = |header: Value, sign: &dyn Fn(&[u8]) -> Vec<u8>| signed(&header, &claims(), sign);
    let by_key = |message: &[u8]| signer.signature(message);
    // With the public key as a shared secret, as it stands in the set.
    let public = rsa.jwk("r")["n"].as_str().unwrap().to_owned();
    let by_secret = |message: &[u8]| {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, public.as_bytes());
        hmac::sign(&secret, message).as_ref().to_vec()
    };
    let [header, body, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!() };
    let other_body = BASE64.encode(claims_but(json!({"org_id": "org_b"})).to_string());
    let refused = [
        ("wrong issuer", with(json!({"iss": "https://other.example"}))),
        ("no issuer", with(json!({"iss": null}))),
        ("wrong audience", with(json!({"aud": "other"}))),
        ("wrong audiences", with(json!({"aud": ["other", "another"]}))),
        ("no audience", with(json!({"aud": null}))),
        ("expired", with(json!({"exp": now() - 120}))),
        ("no expiry", with(json!({"exp": null}))),
        ("expiry is a word", with(json!({"exp": "tomorrow"}))),
        ("not yet", with(json!({"nbf": now() + 120}))),
        ("no organisation", with(json!({"org_id": null}))),
        ("no user", with(json!({"sub": null}))),
        ("odd user", with(json!({"sub": "a/b"}))),
        ("organisation is a number", with(json!({"org_id": 1}))),
        ("unknown key", signer.token("x", &claims())),
        ("no key named, and there are two", head(json!({"alg": "EdDSA"}), &by_key)),
        ("alg none", head(json!({"alg": "none", "kid": "d"}), &|_| Vec::new())),
        ("alg none, signed", head(json!({"alg": "none", "kid": "d"}), &by_key)),
        ("HS256 by the public key", head(json!({"alg": "HS256", "kid": "r"}), &by_secret)),
        ("HS256 by the key", head(json!({"alg": "HS256", "kid": "d"}), &by_key)),
        ("another algorithm of the key", head(json!({"alg": "RS512", "kid": "r"}), &by_key)),
        ("critical extension", head(json!({"alg": "EdDSA", "kid": "d", "crit": ["b64"]}), &by_key)),
        ("other body", format!("{header}.{other_body}.{signature}")),
        ("no signature", format!("{header}.{body}.")),
        ("two parts", format!("{header}.{body}")),
        ("a key of ours", format!("oi_{}", "0".repeat(64))),
        ("nonsense", "a.b.c".into()),
    ];
    let want = answer(served.bare("GET", "/api/runs")).await;
    let want = want.refused(401, "unauthorized")["error"]["message"].clone();
    for (what, token) in refused {
        let answer = ask(&served, &token).await;
        assert_eq!(answer.status, 401, "{what}: {}", answer.text);
        assert_eq!(answer.refused(401, "unauthorized")["error"]["message"], want, "{what}");
    }
}

#[tokio::test]
async fn a_set_gives_only_keys_that_sign() {
    let signer = Signer::ed();
    let mut for_encryption = Signer::rsa().jwk("e");
    for_encryption["use"] = "enc".into();
    let mut for_others = Signer::rsa().jwk("o");
    for_others["alg"] = "PS256".into();
    let secret = json!({"kty": "oct", "kid": "s", "alg": "HS256", "k": BASE64.encode("secret")});
    let odd = [json!({"kty": "new"}), json!(1), secret, for_encryption, for_others];
    let keys: Vec<_> = odd.into_iter().chain([signer.jwk("d")]).collect();
    let served = served_to_holders_of(json!({"keys": keys})).await;
    let by_secret = |message: &[u8]| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"secret"), message).as_ref().to_vec()
    };
    let token = signed(&json!({"alg": "HS256", "kid": "s"}), &claims(), by_secret);
    ask(&served, &token).await.refused(401, "unauthorized");
    // The only one that is left needs no name.
    let by_key = |message: &[u8]| signer.signature(message);
    let token = signed(&json!({"alg": "EdDSA"}), &claims(), by_key);
    ask(&served, &token).await.expect(200);
}

/// Serves sets one after another, the last one for ever, and counts.
async fn jwks_server(sets: Vec<String>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let served = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            assert!(stream.read(&mut head).await.unwrap() > 0);
            let at = served.fetch_add(1, Ordering::SeqCst).min(sets.len() - 1);
            let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length";
            let answer = format!("{head}: {}\r\n\r\n{}", sets[at].len(), sets[at]);
            stream.write_all(answer.as_bytes()).await.ok();
        }
    });
    (url, count)
}

#[tokio::test]
async fn an_unknown_key_makes_the_set_be_read_again_but_not_each_time() {
    let (old, new, never) = (Signer::ed(), Signer::ec(), Signer::ed());
    let sets = [json!({"keys": [old.jwk("1")]}), json!({"keys": [new.jwk("2")]})];
    let (url, count) = jwks_server(sets.map(|set| set.to_string()).to_vec()).await;
    let settings = JwtSettings { jwks_url: Some(url), ..settings() };
    let served = served_to(async |store| Authenticator::jwt(settings, store).await.unwrap()).await;
    assert_eq!(count.load(Ordering::SeqCst), 1);
    ask(&served, &old.token("1", &claims())).await.expect(200);
    ask(&served, &new.token("2", &claims())).await.expect(200);
    assert_eq!(count.load(Ordering::SeqCst), 2);
    ask(&served, &old.token("1", &claims())).await.refused(401, "unauthorized");
    for _ in 0..5 {
        ask(&served, &never.token("3", &claims())).await.refused(401, "unauthorized");
    }
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn keys_that_cannot_be_read_are_our_fault_and_not_the_tokens() {
    let signer = Signer::ed();
    let huge = json!({"keys": [signer.jwk("1")], "more": "x".repeat(300 * 1024)});
    for set in ["no JSON".to_owned(), "{\"keys\": []}".to_owned(), huge.to_string()] {
        let (url, _) = jwks_server(vec![set]).await;
        let settings = JwtSettings { jwks_url: Some(url), ..settings() };
        let served =
            served_to(async |store| Authenticator::jwt(settings, store).await.unwrap()).await;
        ask(&served, &signer.token("1", &claims())).await.refused(503, "unavailable");
        ask(&served, "nonsense").await.refused(401, "unauthorized");
    }
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_at_the_start() {
    let store = crate::served::served().await.store.clone();
    let check = async |settings: JwtSettings, words: &str| {
        let Err(fault) = Authenticator::jwt(settings, store.clone()).await else {
            panic!("taken: {words}")
        };
        assert!(fault.to_string().contains(words), "{fault}");
    };
    check(JwtSettings::default(), "issuer").await;
    check(settings(), "jwks_url").await;
    let url = |url: &str| JwtSettings { jwks_url: Some(url.into()), ..settings() };
    for text in ["http://issuer.example/jwks", "ftp://x", "nonsense", "file:///etc/passwd"] {
        check(url(text), "https").await;
    }
    let file = JwtSettings { jwks_file: Some("/nowhere/jwks.json".into()), ..settings() };
    check(file.clone(), "/nowhere/jwks.json").await;
    check(JwtSettings { jwks_url: Some("https://x.example".into()), ..file }, "both").await;
    check(JwtSettings { leeway_s: 601, ..url("https://x.example") }, "leeway_s").await;
}

#[tokio::test]
async fn a_stream_ends_when_its_token_expires() {
    let signer = Signer::ed();
    let served = served_to_holders_of(json!({"keys": [signer.jwk("d")]})).await;
    // Two seconds of the leeway are left.
    let token = signer.token("d", &claims_but(json!({"exp": now() - 58})));
    let create = served.bare("POST", "/api/runs").bearer_auth(&token);
    let run = answer(create.json(&json!({"input": "a"}))).await.expect(201);
    let path = format!("/api/runs/{}/stream", run["run_id"].as_str().unwrap());
    let followed = answer(served.bare("GET", &path).bearer_auth(&token)).await;
    assert_eq!((followed.status, &*followed.text), (200, "retry: 1000\n\n"));
}
