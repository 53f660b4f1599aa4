"""The declaration that `s3migrate init` writes."""

from schema.limits import LIMITS
from schema.timeouts import DEFAULT_TIMEOUTS, NAMES

_LIMIT_LINES = "\n".join(f"#   {name + ': ' + limit.example:<38}# {limit.says}" for name, limit in LIMITS.items())
_TIMEOUT_LINES = "\n".join(f"#   {name}: {getattr(DEFAULT_TIMEOUTS, name)}s" for name in NAMES)
_EXAMPLE = """\
# What to migrate. Next: `s3migrate plan migration.yaml`, review the plan it writes, `s3migrate apply` it.
# Every key is checked: an unknown one is an error with its line.
apiVersion: s3migrate/v1
kind: Migration
name: photos

source:
  bucket: photos
  prefix: ""                              # only keys that begin with this
  endpoint_url: https://s3.old.example    # leave out for AWS
  region: us-east-1
  addressing: auto                        # auto | path | virtual
  credentials: {env: OLD}                 # OLD_AWS_ACCESS_KEY_ID, OLD_AWS_SECRET_ACCESS_KEY, OLD_AWS_SESSION_TOKEN
  # credentials: {profile: old}           # a profile of ~/.aws
  # credentials: {role_arn: "arn:aws:iam::123456789012:role/reader", external_id: "x", source: {profile: old}}
  # credentials: {anonymous: true}
  # tls: {ca_bundle: /etc/ssl/old-ca.pem} # verification cannot be switched off

destination:
  bucket: photos-new
  prefix: ""                              # replaces the source's prefix
  endpoint_url: https://s3.new.example
  region: us-east-1
  credentials: {env: NEW}

# filters:                                # globs see the key after the source's prefix
#   include: ["**"]
#   exclude: ["tmp/**"]
#   min_size: 0
#   max_size: 5TiB
#   modified_after: "2020-01-01T00:00:00Z"
#   storage_classes: [STANDARD, STANDARD_IA]

policy:
  compare: [size, etag]                   # size | etag | checksum | modified
  on_different: overwrite                 # overwrite | skip | conflict
  on_destination_newer: conflict          # conflict | overwrite
  if_source_changes: skip                 # skip | fail

# preserve:                               # what travels beside the bytes; all but these is on
#   acl: false
#   storage_class: keep                   # keep | map | a class name
#   object_lock: none                     # none | governance | compliance
# accept_loss: []                         # names of losses the plan reports and you accept

# limits:                                 # memory and workers: of one apply process
#   memory: 3.5GiB
#   workers: auto
@LIMITS@
#   calendar:                             # the first row that matches holds; what it does not name stays as above
#     - mon-fri 08:00-18:00 Europe/Berlin: 50MiB/s
#     - sat,sun 00:00-24:00 Europe/Berlin: {requests_per_second: 2000, concurrent_requests: 256}

# timeouts:                               # how long a request may be silent; these are the defaults
@TIMEOUTS@

guards:                                   # apply refuses a plan that does more
  max_overwrites: 0
  max_deletes: 0
# max_objects: 1000000
# max_bytes: 10TiB

manifests: manifests                      # a folder beside the plan, or s3://bucket/prefix
"""

EXAMPLE = _EXAMPLE.replace("@LIMITS@", _LIMIT_LINES).replace("@TIMEOUTS@", _TIMEOUT_LINES)
