//! The table that is compiled in, and profiles of a user.

use super::*;

fn own(text: &str) -> Result<Meshes, String> {
    own_with_agents(text, &[])
}

fn own_with_agents(text: &str, agents: &[&str]) -> Result<Meshes, String> {
    let profiles: Vec<Profile> = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let agents: Vec<String> = agents.iter().map(|mesh| (*mesh).to_owned()).collect();
    Meshes::with(profiles, &BTreeMap::new(), &agents).map_err(|error| error.to_string())
}

#[track_caller]
fn check_refused(text: &str, message: &str) {
    let error = own(text).expect_err("it cannot be followed");
    assert!(error.contains(message), "{error}");
}

#[test]
fn every_profile_that_is_compiled_in_can_be_followed() {
    let known: Vec<Profile> = Meshes::default().profiles().cloned().collect();
    assert_eq!(known.len(), 8);
    for profile in &known {
        profile.check().unwrap();
        assert!(!profile.pages.is_empty(), "{}", profile.mesh);
    }
}

#[test]
fn a_users_profile_goes_before_the_known_ones() {
    let page = "{of: proxy, port: 15090, path: '/stats/prometheus?usedonly'}";
    let meshes =
        own(&format!("- {{mesh: ours, container: istio-proxy, pages: [{page}]}}")).unwrap();
    let proxy = Container { name: "istio-proxy".to_owned(), ..Container::default() };
    assert_eq!(meshes.profile(&proxy).unwrap().mesh, "ours");
    let other = Container { name: "linkerd-proxy".to_owned(), ..Container::default() };
    assert_eq!(meshes.profile(&other).unwrap().mesh, "linkerd");
}

#[test]
fn a_profile_that_cannot_be_followed_is_told_why() {
    let with = |page: &str| format!("- {{mesh: m, container: c, pages: [{page}]}}");
    check_refused(&with("{of: proxy, port: 0, path: /m}"), "expected a non");
    check_refused(&with("{of: proxy, port: 65536, path: /m}"), "65536");
    check_refused(&with("{of: app, port: 1, path: /m}"), "app");
    check_refused(&with("{of: proxy, port: 1, path: /m, whne: always}"), "whne");
    check_refused(
        &with("{of: proxy, port: 1, path: '/a b'}"),
        "mesh \"m\": path is \"/a b\": a path is like /metrics, in a URL's ASCII",
    );
    check_refused(
        &with("{of: proxy, port: 1, path: /m, port_annotation: x/y}"),
        "mesh \"m\": annotation is \"x/y\": merger reads no annotation of that name",
    );
    check_refused(
        &with("{of: proxy, port: 1, path: /m, repeats: [{what: agent, unless: HOME=/}]}"),
        "mesh \"m\": unless is \"HOME\": merger reads no such annotation or variable",
    );
    for own in ["istio_agent", "", "1_", "a.b_", "a _"] {
        check_refused(
            &with(&format!("{{of: agent, port: 1, path: /m, own: '{own}'}}")),
            &format!("own is \"{own}\": a beginning of names is like istio_agent_"),
        );
    }
    check_refused(
        &with("{of: agent, port: 1, path: /m}], takes_own: true, reserved: ["),
        "takes_own",
    );
    check_refused("- {mesh: m, container: c, reserved: [0]}", "a port is from 1 to 65535");
    check_refused("- {mesh: m, container: ''}", "name the mesh, and the container");
}

#[test]
fn whoever_does_not_know_the_pod_asks_istios_proxy_alone() {
    let page = |port: u16| page_of_port(port.try_into().unwrap());
    assert_eq!(page(15090), Some(Some("/stats/prometheus")));
    assert_eq!(page(15020), Some(None));
    assert_eq!(page(15000), Some(None));
    assert_eq!(page(9090), None);
    assert_eq!(page(4191), None);
}

#[test]
fn a_query_goes_to_the_proxies_of_its_mesh_and_to_nothing_else() {
    let with = |mesh: &str, query: &str| {
        let queries = [(mesh.to_owned(), query.to_owned())].into();
        Meshes::with(vec![], &queries, &[]).map_err(|error| error.to_string())
    };
    let meshes = with("kuma", "usedonly").unwrap();
    let of = |mesh: &str| meshes.profiles().find(|profile| profile.mesh == mesh).unwrap();
    let paths: Vec<_> = of("kuma").pages.iter().map(|page| page.path.as_str()).collect();
    assert_eq!(paths, ["/stats?format=prometheus&usedonly", "/metrics?usedonly"]);
    assert_eq!(of("istio").pages[1].path, "/stats/prometheus");
    let meshes = with("istio", "usedonly").unwrap();
    let istio = meshes.profiles().find(|profile| profile.mesh == "istio").unwrap();
    let pages: Vec<_> = istio.pages.iter().map(|page| (page.port.get(), &*page.path)).collect();
    assert_eq!(pages, [(15090, "/stats/prometheus?usedonly"), (15020, "/stats/prometheus")]);
    let error = with("kuna", "usedonly").unwrap_err();
    assert_eq!(error, "mesh \"kuna\": query is \"usedonly\": there is no mesh of that name");
    assert!(with("kuma", "used only").unwrap_err().contains("a path is like /metrics"));
}

#[test]
fn what_is_an_agents_own_is_taken_of_the_meshes_that_the_settings_name() {
    let takes = |meshes: &Meshes| -> Vec<String> {
        let profiles = meshes.profiles().filter(|profile| profile.takes_own);
        profiles.map(|profile| profile.mesh.clone()).collect()
    };
    assert_eq!(takes(&Meshes::default()), Vec::<String>::new());
    assert_eq!(takes(&own("[]").unwrap()), Vec::<String>::new());
    assert_eq!(takes(&own_with_agents("[]", &["istio"]).unwrap()), ["istio"]);
    let page = "{of: agent, port: 1, path: /m, repeats: [{what: proxy}], own: agent_}";
    let ours = format!("[{{mesh: ours, container: c, pages: [{page}]}}]");
    assert_eq!(takes(&own_with_agents(&ours, &["istio", "ours"]).unwrap()), ["ours", "istio"]);
    let error = own_with_agents("[]", &["istoi"]).unwrap_err();
    let expected = "mesh \"istoi\": mesh_agents is \"istoi\": there is no mesh of that name";
    assert_eq!(error, expected);
    let error = own_with_agents("[]", &["linkerd"]).unwrap_err();
    assert!(error.ends_with("no page of its sidecar says what is its own"), "{error}");
}
