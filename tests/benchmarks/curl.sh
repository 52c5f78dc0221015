#!/bin/sh
# curl.sh ENDPOINT STREAMS FILE: one upload with curl, in two requests.
set -eu
location="$(curl --silent --show-error --fail --request POST --header 'Tus-Resumable: 1.0.0' \
  --header "Upload-Length: $(stat -c %s "$3")" --output /dev/null --write-out '%header{location}' "$1")"
curl --silent --show-error --fail --request PATCH --header 'Tus-Resumable: 1.0.0' --header 'Upload-Offset: 0' \
  --header 'Content-Type: application/offset+octet-stream' --header 'Expect:' --upload-file "$3" "$location"
