"""A declaration with the least, and one with every key."""

from __future__ import annotations

MINIMAL = """\
apiVersion: s3migrate/v1
kind: Migration
name: photos
source: {bucket: old}
destination: {bucket: new}
"""
FULL = """\
apiVersion: s3migrate/v1
kind: Migration
name: photos
source:
  bucket: old
  prefix: "a/"
  endpoint_url: [http://10.0.0.1:9000, "https://[::1]:9000/base"]
  region: eu-west-1
  addressing: path
  credentials: {role_arn: "arn:aws:iam::123456789012:role/r", external_id: x, source: {profile: p}}
  tls: {ca_bundle: ca.pem}
  requester_pays: true
  sse_customer_key_env: OLD_KEY
destination: {bucket: new, credentials: {anonymous: true}}
filters:
  include: ["a/**"]
  exclude: [no, "1"]
  min_size: 1
  max_size: 3.5GiB
  modified_after: 2026-01-01
  modified_before: 2026-01-01T01:00:00.5+01:00
  storage_classes: [STANDARD]
mapping: [{pattern: "(.)x", replace: '\\1y'}]
policy: {compare: [checksum], on_different: skip, on_destination_newer: overwrite, if_source_changes: fail,
  versions: latest, delete_extraneous: after-verify, on_archived: restore, restore_days: 3, restore_tier: Bulk,
  transfer: stream, markers: [last]}
preserve: {system_headers: false, user_metadata: false, tags: false, website_redirect: false, storage_class: map,
  storage_class_map: {GLACIER: STANDARD}, encryption: {mode: sse-kms, key_map: {a: b}}, acl: true,
  acl_grantees: {c: d}, object_lock: compliance, legal_hold: true, part_layout: true, checksums: false,
  last_modified: mtime}
limits: {memory: 64MiB, workers: 7, requests_per_second: 10.5, bandwidth: 200MiB/s, concurrent_requests: 9,
  calendar: [mon-fri 08:00-18:00 Europe/Berlin: 50MiB/s, "sat,sun 00:00-24:00 UTC: 1 MB/s",
    tue 22:00-06:00 UTC: {bandwidth: 2MiB/s, requests_per_second: 2.5, concurrent_requests: 3}, wed 00:00-24:00 UTC:
    {requests_per_second: "7"}, "thu 09:00-10:00 UTC: closed"]}
timeouts: {connect: 5, list: 10min, head: 90s, get: 2 min, put: "45", complete: 1h, copy: 20min, other: 7s}
guards: {max_objects: 1, max_bytes: 2TiB, max_overwrites: 3, max_deletes: 4}
accept_loss: [acl]
manifests: s3://bucket/some/prefix
x-note: {mine: 1}
"""
