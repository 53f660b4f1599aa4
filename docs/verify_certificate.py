"""Check a certificate of s3migrate with nothing but Python; exit 0: all is as it says. See docs/certificate.md.
verify_certificate.py TREE [LISTING.json | INVENTORY.csv.gz=Bucket,Key,Size,ETag]... | KEY.tlog-proof CHECKPOINT"""
import base64, csv, gzip, hashlib, itertools, json, pathlib, sqlite3, sys, urllib.parse
FIELDS = "key, version, size, etag"
def tree(lines):  # RFC 6962, section 2.1: the number of leaves, and their root
    peaks = []
    for line in lines:
        size, node = 1, hashlib.sha256(b"\0" + line).digest()
        while peaks and peaks[-1][0] == size:
            size, node = size * 2, hashlib.sha256(b"\1" + peaks.pop()[1] + node).digest()
        peaks.append((size, node))
    root = peaks[-1][1] if peaks else hashlib.sha256(b"").digest()
    for _, peak in peaks[-2::-1]:
        root = hashlib.sha256(b"\1" + peak + root).digest()
    return sum(size for size, _ in peaks), root
def climb(leaf, index, size, path):  # RFC 6962, section 2.1.1: the root that a path leads to
    if size == 1 or not path:  # both, or it is a path of another length
        return hashlib.sha256(b"\0" + leaf).digest() if size == 1 and not path else b""
    split = 1 << (size - 1).bit_length() - 1
    if index < split:
        return hashlib.sha256(b"\1" + climb(leaf, index, split, path[:-1]) + path[-1]).digest()
    return hashlib.sha256(b"\1" + path[-1] + climb(leaf, index - split, size - split, path[:-1])).digest()
def row(key, version, size, etag):
    return key.encode("utf-8", "surrogatepass"), version or None, int(size or 0), (etag or "").strip('"')
def listed(name, columns):  # the objects of a listing's JSON, read in blocks, or the rows of an inventory
    with (gzip.open if name.endswith(".gz") else open)(name, "rt", encoding="utf-8", newline="") as file:
        for item in csv.DictReader(file, columns.replace(" ", "").split(",")) if columns else ():
            yield row(urllib.parse.unquote_plus(item["Key"]), item.get("VersionId"), item["Size"], item["ETag"])
        text, at, decoded = file.read(1 << 20), 1, json.JSONDecoder().raw_decode
        while text:
            try:
                item, at = decoded(text, text.index("{", at))
                yield from [row(*map(item.get, ("Key", "VersionId", "Size", "ETag")))] if "Key" in item else []
            except ValueError:  # the next object is not all there yet
                text, at = (text[at:] + more, 0) if (more := file.read(1 << 20)) else ("", 0)
def kept(path, table, db):  # the lines of a certificate's file, each put into the database on the way
    for line in gzip.open(path):
        db.execute(f"INSERT INTO {table} VALUES (?, ?, ?, ?)", row(*map(json.loads(line).get, FIELDS.split(", "))))
        yield line[:-1]
def note_of(path):
    return pathlib.Path(path).read_text("utf-8").split("\n\n")[0].splitlines()
def proof_problems(name, checkpoint):
    (_, leaf, index, *path), (_, size, root, *_) = note_of(name), note_of(checkpoint)
    leaf, index, size = base64.b64decode(leaf.split(" ")[1]), int(index.split(" ")[1]), int(size)
    if index >= size or climb(leaf, index, size, [*map(base64.b64decode, path)]) != base64.b64decode(root):
        yield f"not in the tree: {leaf.decode()}"
def problems(name, *listings):
    note, db = note_of(f"{name}/checkpoint"), sqlite3.connect("")  # "": on disk, and gone afterwards
    db.executescript("".join(f"CREATE TABLE {t} ({FIELDS});" for t in ("leaves", "rest", "listed")))
    for table, file, head in (("leaves", "leaves", note[1:3]), ("rest", "not-certified", note[-1].split(" ")[1:])):
        if tree(kept(f"{name}/{file}.jsonl.gz", table, db)) != (int(head[0]), base64.b64decode(head[1])):
            yield f"{file} is not what the checkpoint says"
    for listing in listings:
        db.executemany("INSERT INTO listed VALUES (?, ?, ?, ?)", listed(*listing.partition("=")[::2]))
    told = FIELDS if db.execute("SELECT max(version) FROM listed").fetchone()[0] else "key, size, etag"
    for here, there in (("leaves", "listed"), ("listed WHERE key NOT IN (SELECT key FROM rest)", "leaves")):
        found = db.execute(f"SELECT {told} FROM {here} EXCEPT SELECT {told} FROM {there}") if listings else ()
        yield from (f"in {here}, and not so in {there}: {one}" for one in found)
found = (proof_problems if pathlib.Path(sys.argv[1]).is_file() else problems)(*sys.argv[1:])
sys.exit("\n".join(itertools.islice(found, 20)) or None)
