//! Rows 94 to 97: which algorithm is right for which key.

use super::*;

#[test]
fn scheme_row_094_the_key_decides_the_algorithm() {
    for (kind, others) in [
        (Kind::P256, &["ES384", "PS256"][..]),
        (Kind::P384, &["ES256", "PS384"]),
        (Kind::Rsa(2048), &["PS384", "PS512", "ES256"]),
        (Kind::Rsa(3072), &["PS256", "PS512"]),
        (Kind::Rsa(4096), &["PS256", "PS384"]),
    ] {
        let chain = self_signed(kind);
        let policy = Policy::of(&[&chain[0]]);
        policy.signer_of(&jws(&Jws::new(IMAGE, &chain)).unwrap(), NOW).unwrap();
        policy.signer_of(&cose(&Cose::new(IMAGE, &chain)).unwrap(), NOW).unwrap();
        for other in others {
            // An RSA key has really signed by the other algorithm.
            let changed = Jws::new(IMAGE, &chain).edit(|jws| jws.protected["alg"] = (*other).into());
            assert_refused(jws(&changed), "bad-signature", "not the one for the key");
        }
    }
}

#[test]
fn scheme_row_095_no_other_algorithm_is_known() {
    let chain = self_signed(Kind::Rsa(2048));
    for algorithm in ["none", "HS256", "RS256", "EdDSA", "es256", "", "PS256 "] {
        let changed = Jws::new(IMAGE, &chain).edit(|jws| jws.protected["alg"] = algorithm.into());
        assert_refused(jws(&changed), "bad-signature", "one of ES256, ES384, PS256, PS384 and PS512");
    }
    let changed = Jws::new(IMAGE, &chain).edit(|jws| jws.protected["alg"] = serde_json::Value::Null);
    assert_refused(jws(&changed), "bad-signature", "no string");
    use portreeve_test_support::notation::Cbor;
    // RS256, HMAC, EdDSA, and a name.
    for algorithm in [Cbor::Integer(-257), Cbor::Integer(5), Cbor::Integer(-8), Cbor::text("PS256")] {
        let changed = Cose::new(IMAGE, &chain).edit(|cose| cose.set(Cbor::Integer(1), algorithm));
        assert_refused(cose(&changed), "bad-signature", "-37 (PS256)");
    }
}

#[test]
fn scheme_row_096_rsa_keys_have_exact_sizes() {
    let root = Spec::ca("Plant Root", Kind::P256).self_signed();
    for bits in [2056, 2560, 3584, 8192] {
        let chain = [Spec::leaf("builder", Kind::Rsa(bits)).signed_by(&root), root.clone()];
        for algorithm in ["PS256", "PS384", "PS512"] {
            let changed = Jws::new(IMAGE, &chain).edit(|jws| jws.protected["alg"] = algorithm.into());
            assert_refused(jws(&changed), "bad-signature", "2048, 3072 and 4096 bits");
        }
    }
    let small = [Spec::leaf("builder", Kind::Rsa(1024)).signed_by(&root), root];
    assert_refused(jws(&Jws::new(IMAGE, &small)), "bad-certificate", "below 2048 bits");
}

#[test]
fn scheme_row_097_p_521_is_refused_by_name_anywhere() {
    let root = Spec::ca("Plant Root", Kind::P256).self_signed();
    let ca = Spec::ca("Plant Signing CA", Kind::P521).signed_by(&root);
    let leaf = Spec::leaf("builder", Kind::P256).signed_by(&ca);
    for (place, chain) in [
        (2, vec![leaf, ca, root.clone()]),
        (1, vec![Spec::leaf("builder", Kind::P521).signed_by(&root), root.clone()]),
        (2, vec![Spec::leaf("builder", Kind::P256).signed_by(&root), Spec::ca("Plant Root", Kind::P521).self_signed()]),
    ] {
        let changed = Jws::new(IMAGE, &chain).edit(|jws| jws.protected["alg"] = "ES256".into());
        assert_refused(jws(&changed), "bad-certificate", "has a key on P-521, which is not supported");
        assert!(why(jws(&changed)).1.contains(&format!("certificate {place} ")));
    }
    let changed = Jws::new(IMAGE, &[root]).edit(|jws| jws.protected["alg"] = "ES512".into());
    assert_refused(jws(&changed), "bad-signature", "P-521");
    let chain = vec![Spec::leaf("builder", Kind::Ed25519).self_signed()];
    assert_refused(jws(&Jws::new(IMAGE, &chain)), "bad-signature", "one of ES256");
    let changed = Jws::new(IMAGE, &chain).edit(|jws| jws.protected["alg"] = "ES256".into());
    assert_refused(jws(&changed), "bad-certificate", "Ed25519");
}
