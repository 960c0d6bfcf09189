#!/bin/sh
# Gives the container its identity at the first start, named after its host, and then becomes the program that it is given.
set -eu
amesh init --if-missing --name "$(uname -n)" --json >/dev/null
exec "$@"
