//! The command `nodetoken` as its users run it: the life of a credential, PINs, exit codes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(missing_docs)]

#[path = "command/authority.rs"]
mod authority;
#[path = "command/node.rs"]
mod node;
#[allow(dead_code, clippy::undocumented_unsafe_blocks)]
#[path = "common/swtpm.rs"]
mod swtpm;

use authority::{Authority, Request};
use node::Node;
use nodetoken::credential::csr::{dns_name, email, ip_address, uri};
use swtpm::Swtpm;

const DAY: u64 = 24 * 60 * 60;

#[test]
fn a_credential_from_init_to_destroy() {
    let node = Node::new();
    assert_eq!(node.json("status")["tokens"], serde_json::json!([]));
    let made = node.json("init --label 病院1 --so-pin-file so --pin-file user");
    assert_eq!(
        (&made["label"], &made["slot"]),
        (&"病院1".into(), &0.into())
    );
    let serial = made["serial"].as_str().unwrap();
    assert_eq!(serial.len(), 16);

    let key = node.json("keygen --type ec:p256 --label web --id 0a:0B --pin-file user");
    assert_eq!(
        key,
        serde_json::json!({"token": "病院1", "type": "ec:p256", "label": "web", "id": "0a0b"})
    );

    let text = node.done(
        "csr --subject CN=node1,O=病院,C=JP --dns node1.example.jp --dns *.example.jp --ip 10.0.0.1 \
         --ip ::1 --email admin@example.jp --uri urn:oid:1.2.3 --pin-file user",
    );
    let request = Request::from_pem(&text);
    request.verify();
    assert_eq!(request.subject().to_string(), "CN=node1,O=病院,C=JP");
    assert_eq!(
        request.alternative_names(),
        [
            dns_name("node1.example.jp").unwrap(),
            dns_name("*.example.jp").unwrap(),
            ip_address([10, 0, 0, 1].into()),
            ip_address("::1".parse().unwrap()),
            email("admin@example.jp").unwrap(),
            uri("urn:oid:1.2.3").unwrap(),
        ]
    );

    let authority = Authority::new("CN=Test CA,O=Test,C=JP");
    let chain = authority.certificate() + &authority.certify(&request, 1, 5 * DAY + 60);
    node.write("chain.pem", chain);
    let installed = node.json("install chain.pem --pin-file user");
    assert_eq!(
        (&installed["label"], &installed["id"]),
        (&"web".into(), &"0a0b".into())
    );
    let certificates = installed["certificates"].as_array().unwrap();
    assert_eq!(certificates.len(), 2);
    assert_eq!(
        certificates[0]["subject"], "CN=node1,O=病院,C=JP",
        "the leaf comes first"
    );
    assert!(
        certificates
            .iter()
            .all(|one| one["stored"] == true && one["replaced"] == 0)
    );
    let again = node.json("install chain.pem --pin-file user");
    let again = again["certificates"].as_array().unwrap();
    assert!(
        again
            .iter()
            .all(|one| one["stored"] == false && one["replaced"] == 0)
    );

    let text = node.done("status");
    assert!(
        text.contains("Test CA") && text.contains("expires in 5 days: renew now"),
        "{text}"
    );
    assert!(
        node.fails(9, "status --check").is_empty(),
        "the table says it"
    );

    // A new certificate of the same key takes the old one's place.
    node.write("new.pem", authority.certify(&request, 2, 365 * DAY + 60));
    let renewed = node.json("install new.pem --pin-file user");
    assert_eq!(renewed["certificates"][0]["replaced"], 1);
    node.done("status --check");
    let status = node.json("status");
    let token = &status["tokens"][0];
    assert_eq!(
        (&token["serial"], &token["user_pin"]),
        (&serial.into(), &"ok".into())
    );
    let credential = &token["credentials"][0];
    assert_eq!(credential["key"]["label"], "web");
    assert_eq!(
        credential["certificate"]["issuer"],
        "CN=Test CA,O=Test,C=JP"
    );
    assert_eq!(credential["certificate"]["serial"], "02");
    assert_eq!(
        (&credential["days_left"], &credential["stage"]),
        (&365.into(), &"valid".into())
    );

    assert_eq!(
        node.kinds("list"),
        ["certificate", "certificate", "public key"]
    );
    let listed = node.json("list --pin-file user");
    assert_eq!(listed["logged_in"], true);
    let private = &listed["objects"][3];
    assert_eq!(
        (&private["kind"], &private["extractable"]),
        (&"private key".into(), &false.into())
    );

    node.done("destroy --label web --kind certificate --yes --pin-file user");
    assert_eq!(
        node.kinds("list --pin-file user"),
        ["certificate", "public key", "private key"],
        "the authority's certificate and the key stay"
    );
    node.done("destroy --id 0a0b --kind key --yes --pin-file user");
    assert_eq!(node.kinds("list --pin-file user"), ["certificate"]);
    node.fails(3, "destroy --id 0a0b --yes --pin-file user");
}

#[test]
fn every_type_of_key_signs_a_request_and_takes_its_certificate() {
    let node = Node::with_token();
    let authority = Authority::new("CN=Test CA");
    let types = [
        "ec:p256", "ec:p384", "ec:p521", "ed25519", "rsa:2048", "rsa:3072", "rsa:4096",
    ];
    for (serial, kind) in (1..).zip(types) {
        node.done(&format!(
            "keygen --type {kind} --label {kind} --pin-file user"
        ));
        node.done(&format!(
            "csr --label {kind} --subject CN={kind} --pin-file user --der --out request"
        ));
        let request = Request::from_der(&node.read("request"));
        request.verify();
        node.write("leaf.pem", authority.certify(&request, serial, 100 * DAY));
        let installed = node.json("install leaf.pem --pin-file user");
        assert_eq!(installed["label"], kind);
    }
    let status = node.json("status");
    let credentials = status["tokens"][0]["credentials"].as_array().unwrap();
    assert_eq!(credentials.len(), types.len());
    for (credential, kind) in credentials.iter().zip(types) {
        assert_eq!(credential["certificate"]["subject"], format!("CN={kind}"));
    }
}

#[test]
fn pins_are_changed_locked_and_unblocked() {
    let node = Node::with_token();
    node.done("keygen --type ec:p256 --label web --pin-file user");
    node.done("pin change --pin-file user --new-pin-file new");
    assert!(
        node.fails(4, "list --pin-file user")
            .contains("wrong user PIN")
    );
    node.done("list --pin-file new");
    node.fails(4, "pin change --pin-file user --new-pin-file new");
    node.fails(6, "pin change --pin-file new --new-pin-file short");

    // A right PIN gives all tries back.
    node.done("list --pin-file new");
    for left in (1..10).rev() {
        let words = node.fails(4, "list --pin-file bad");
        assert_eq!(words.contains("one try is left"), left == 1, "{words}");
    }
    assert!(
        node.fails(5, "list --pin-file bad")
            .contains("it is locked now")
    );
    assert!(
        node.fails(5, "list --pin-file new")
            .contains("nodetoken pin unblock")
    );
    assert_eq!(
        node.json("status")["tokens"][0]["user_pin"],
        "user PIN LOCKED"
    );
    node.fails(9, "status --check");

    node.done("pin change --so --so-pin-file so --new-pin-file new-so");
    assert!(
        node.fails(4, "pin unblock --so-pin-file so --new-pin-file user")
            .contains("security officer's PIN")
    );
    node.done("pin unblock --so-pin-file new-so --new-pin-file user");
    assert_eq!(node.json("status")["tokens"][0]["user_pin"], "ok");
    assert_eq!(
        node.kinds("list --pin-file user"),
        ["public key", "private key"]
    );
}

#[test]
fn a_pin_comes_from_a_file_a_descriptor_or_the_environment_and_never_from_an_argument() {
    let node = Node::with_token();
    node.done("list --pin-file user");
    let pin = String::from_utf8(node.read("user")).unwrap();
    let from_descriptor = node.run_with("list --pin-fd 0", &pin, None);
    assert_eq!(from_descriptor.code, 0, "{}", from_descriptor.stderr);
    let from_environment =
        node.run_with("list --pin-env THE_PIN", "", Some(("THE_PIN", pin.trim())));
    assert_eq!(from_environment.code, 0, "{}", from_environment.stderr);
    assert!(
        node.fails(3, "list --pin-env THE_PIN")
            .contains("THE_PIN is not set")
    );
    assert!(node.fails(3, "list --pin-file nowhere").contains("nowhere"));
    assert!(
        node.fails(2, "list --pin-file user --pin-fd 0")
            .contains("cannot be used with")
    );
    assert!(node.fails(2, "list --login").contains("no terminal"));

    for command in [
        "init",
        "keygen",
        "csr",
        "install",
        "list",
        "destroy",
        "pin change",
        "pin unblock",
    ] {
        let help = node.done(&format!("{command} --help"));
        let options: Vec<&str> = help
            .split_whitespace()
            .filter(|word| word.starts_with("--") && word.contains("pin"))
            .collect();
        let from = |option: &str| {
            ["-file", "-fd", "-env"]
                .iter()
                .any(|end| option.ends_with(end))
        };
        assert!(
            !options.is_empty() && options.iter().all(|option| from(option)),
            "{options:?}"
        );
    }
    node.fails(2, "list --pin 000000");

    node.open_to_others("user");
    let warned = node.run_with("list --pin-file user", "", None);
    assert_eq!(warned.code, 0);
    assert!(
        warned.stderr.contains("open to other users"),
        "{}",
        warned.stderr
    );
}

#[test]
fn usage_errors_and_names_that_nothing_has() {
    let node = Node::new();
    assert!(node.fails(3, "list").contains("nodetoken init"));
    node.fails(2, "frobnicate");
    node.fails(2, "init --so-pin-file so --pin-file user");
    node.fails(
        2,
        &format!(
            "init --label {} --so-pin-file so --pin-file user",
            "x".repeat(33)
        ),
    );
    node.fails(6, "init --label token --so-pin-file short --pin-file user");

    node.done("init --label token --so-pin-file so --pin-file user");
    assert!(
        node.fails(6, "init --label x --so-pin-file so --pin-file user")
            .contains("--new")
    );
    node.fails(3, "--token other list");
    assert!(
        node.fails(3, "csr --subject CN=x --pin-file user")
            .contains("nodetoken keygen")
    );
    node.done("keygen --type ec:p256 --label one --id 01 --pin-file user");
    node.done("keygen --type ec:p256 --label two --id 02 --pin-file user");
    assert!(
        node.fails(6, "keygen --type ec:p256 --label x --id 01 --pin-file user")
            .contains("--id")
    );
    assert!(
        node.fails(2, "csr --subject CN=x --pin-file user")
            .contains("--id")
    );
    node.fails(3, "csr --label three --subject CN=x --pin-file user");
    node.fails(2, "csr --label one --pin-file user");
    node.fails(8, "csr --label one --subject x --pin-file user");
    node.fails(8, "csr --label one --dns a..b --pin-file user");
    node.fails(2, "keygen --type dsa:1024 --label x --pin-file user");
    node.fails(4, "keygen --type ec:p256 --label x --pin-file bad");
    node.fails(2, "destroy --yes --pin-file user");
    assert!(
        node.fails(2, "destroy --label one --pin-file user")
            .contains("--yes")
    );
    assert_eq!(
        node.kinds("list --pin-file user").len(),
        4,
        "nothing is made or destroyed"
    );
}

#[test]
fn certificates_that_fit_no_key_are_refused() {
    let (node, other) = (Node::with_token(), Node::with_token());
    other.done("keygen --type ed25519 --label web --pin-file user");
    let request = Request::from_pem(&other.done("csr --subject CN=other --pin-file user"));
    let authority = Authority::new("CN=Test CA");
    node.done("keygen --type ed25519 --label web --pin-file user");
    node.write("foreign.pem", authority.certify(&request, 1, DAY));
    assert!(
        node.fails(8, "install foreign.pem --pin-file user")
            .contains("another key")
    );
    node.write("text", "no certificate");
    node.fails(8, "install text --pin-file user");
    let unrelated = Authority::new("CN=Another CA").certificate();
    node.write("two.pem", authority.certify(&request, 1, DAY) + &unrelated);
    assert!(
        node.fails(8, "install two.pem --pin-file user")
            .contains("not one chain")
    );
    node.fails(3, "install nowhere --pin-file user");
    assert_eq!(node.kinds("list"), ["public key"]);
}

#[test]
fn several_tokens_are_told_apart_and_one_is_erased() {
    let node = Node::with_token();
    let second = node.json("init --new --label second --so-pin-file so --pin-file user");
    let serial = second["serial"].as_str().unwrap();
    assert!(node.fails(2, "list").contains("--token"));
    node.done("--token second keygen --type ec:p256 --label web --pin-file user");
    for name in ["second", serial, &format!("slot:{}", second["slot"])] {
        assert_eq!(node.kinds(&format!("--token {name} list")), ["public key"]);
    }
    assert!(node.kinds("--token token list").is_empty());

    let again = "--token second init --label fresh --so-pin-file so --pin-file user";
    assert!(node.fails(6, again).contains("--erase"));
    node.fails(
        4,
        "--token second init --erase --label fresh --so-pin-file bad --pin-file user",
    );
    node.done(&format!("{again} --erase"));
    assert!(node.kinds("--token fresh list --pin-file user").is_empty());
    node.fails(3, "--token second list");
}

#[test]
fn a_token_in_a_tpm_beside_one_in_software() {
    let node = Node::new();
    let pins = "--so-pin-file so --pin-file user";
    let no_tpm = node.fails(3, &format!("init --kind tpm --label chip {pins}"));
    assert!(no_tpm.contains("NODETOKEN_TPM"), "{no_tpm}");
    let missing = format!("init --label chip {pins}");
    let missing = node.run_with(&missing, "", Some(("NODETOKEN_TPM", "/dev/no-such-tpm")));
    assert!(
        missing.code == 3 && missing.stderr.contains("--kind software"),
        "{}",
        missing.stderr
    );

    let _tpm = Swtpm::start(node.path());
    let device = format!("swtpm:{}", Swtpm::socket(node.path()).display());
    let run = |words: &str| {
        let outcome = node.run_with(words, "", Some(("NODETOKEN_TPM", &device)));
        assert_eq!(outcome.code, 0, "{words}: {}", outcome.stderr);
        outcome.stdout
    };
    // Where there is a TPM, it is what a token is made in unless the other is asked for.
    assert!(run(&format!("init --label chip {pins}")).contains("(TPM)"));
    assert!(run(&format!("init --kind software --label files {pins}")).contains("(software)"));
    for (token, label) in [("chip", "node1"), ("files", "node2")] {
        run(&format!(
            "--token {token} keygen --label {label} --type ec:p256 --pin-file user"
        ));
        run(&format!(
            "--token {token} csr --label {label} --subject CN={label} --out {label}.csr --pin-file user"
        ));
        assert!(
            run(&format!("--token {token} list --pin-file user"))
                .contains("never leaves the token")
        );
    }
    run("--token chip pin change --pin-file user --new-pin-file new");
    run("--token chip pin unblock --so-pin-file so --new-pin-file user");
    // Without the TPM the other token is there all the same.
    assert!(node.done("list").contains("node2"));
}

#[test]
fn a_damaged_store_or_configuration_is_reported_and_left_alone() {
    let node = Node::with_token();
    let file = node.store_file();
    std::fs::write(&file, [0x5a; 4096]).unwrap();
    let words = node.fails(7, "status");
    assert!(words.contains(file.to_str().unwrap()), "{words}");
    assert_eq!(std::fs::read(&file).unwrap(), [0x5a; 4096]);

    node.write("broken.toml", "[store\n");
    let outcome = node.run_with("status", "", Some(("NODETOKEN_CONF", "broken.toml")));
    assert_eq!(outcome.code, 7, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("broken.toml"), "{}", outcome.stderr);
}
