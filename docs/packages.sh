# SPDX-License-Identifier: BSD-2-Clause
# Sourced by docs/quickstart.sh and tests/run.sh: the Debian packages that the
# build needs, and a function that installs those that are missing.

DIPC_PACKAGES="build-essential cmake pkg-config libibverbs-dev librdmacm-dev
libgnutls28-dev libinih-dev libjansson-dev libncurses-dev uthash-dev
libpng-dev libcmocka-dev perl lowdown"
# What docs/scaling/make.sh needs besides.
# shellcheck disable=SC2034 # of those who source this
DIPC_PLOT_PACKAGES="gnuplot-nox"

# install_packages NAME...: asks nothing; touches nothing when all are there.
install_packages()
{
	missing=
	for package; do
		dpkg-query -W -f='${Status}' "$package" 2>/dev/null |
			grep -q 'ok installed' || missing="$missing $package"
	done
	[ -z "$missing" ] && return 0
	command -v apt-get >/dev/null || {
		echo "missing, and no apt-get here to install them:$missing" >&2
		return 1
	}
	echo "installing:$missing"
	as_root=
	[ "$(id -u)" -eq 0 ] || as_root=sudo
	$as_root env DEBIAN_FRONTEND=noninteractive apt-get -q update \
		>/dev/null &&
		$as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
			install --no-install-recommends $missing >/dev/null
}
