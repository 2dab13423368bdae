use std::io::Read as _;

use flate2::read::GzDecoder;

use super::*;

fn image() -> Image {
    let mut files = Files::default();
    files.add_program(ENTRYPOINT, b"program".to_vec());
    files.add("/etc/passwd", b"root".to_vec());
    Image::new(&files, &"registry.example/merger:1".parse().unwrap()).unwrap()
}

/// The members of an archive, by path.
fn members(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (entry.path().unwrap().to_string_lossy().into_owned(), bytes)
    });
    entries.collect()
}

/// Takes the blob that a descriptor names, which has to be what the descriptor says.
#[track_caller]
fn follow(members: &mut BTreeMap<String, Vec<u8>>, descriptor: &Value, kind: &str) -> Vec<u8> {
    assert_eq!(descriptor["mediaType"], kind);
    let named = descriptor["digest"].as_str().unwrap();
    let blob = members.remove(&format!("blobs/{}", named.replace(':', "/"))).unwrap();
    assert_eq!(digest(&blob), named);
    assert_eq!(descriptor["size"], blob.len());
    blob
}

fn read(document: &[u8]) -> Value {
    serde_json::from_slice(document).unwrap()
}

#[test]
fn the_index_leads_to_every_blob_and_the_layer_has_the_files() {
    let image = image();
    let mut members = members(&image.archive().unwrap());
    let layout = read(&members.remove("oci-layout").unwrap());
    assert_eq!(layout, json!({ "imageLayoutVersion": "1.0.0" }));
    let index = read(&members.remove("index.json").unwrap());
    let entry = &index["manifests"][0];
    assert_eq!(entry["digest"], image.digest());
    assert_eq!(entry["annotations"]["io.containerd.image.name"], "registry.example/merger:1");
    assert_eq!(entry["platform"]["os"], "linux");

    let manifest = read(&follow(&mut members, entry, MANIFEST));
    let config = read(&follow(&mut members, &manifest["config"], CONFIG));
    let layer = follow(&mut members, &manifest["layers"][0], LAYER);
    assert_eq!(members.keys().collect::<Vec<_>>(), Vec::<&String>::new(), "nothing else is in it");

    let mut plain = Vec::new();
    GzDecoder::new(layer.as_slice()).read_to_end(&mut plain).unwrap();
    assert_eq!(config["rootfs"]["diff_ids"], json!([digest(&plain)]));
    assert_eq!(config["config"]["Entrypoint"], json!(["/usr/bin/merger"]));
    assert_eq!(config["config"]["Cmd"], json!(["run"]));
    assert_eq!(config["config"].get("User"), None);
    let files = self::members(&plain);
    assert_eq!(files["usr/bin/merger"], b"program");
    assert_eq!(files["etc/passwd"], b"root");
}

#[test]
fn equal_files_give_an_equal_archive() {
    assert_eq!(image().archive().unwrap(), image().archive().unwrap());
    // Of this program's own text, so that a change of a crate that writes another is seen.
    let files = Files::default();
    let empty = Image::new(&files, &"localhost/empty:1".parse().unwrap()).unwrap();
    let layer = read(&empty.blobs[empty.digest()])["layers"][0]["digest"].clone();
    let plain = digest(&files.layer().unwrap());
    assert_eq!(plain, "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef");
    assert_eq!(layer, digest(&compressed(&[0; 1024]).unwrap()));
}
