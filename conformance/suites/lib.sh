# shellcheck shell=bash
# Shared by the scripts beside it, each of which runs a test suite that others wrote for PKCS#11 modules. Source it
# instead of ../lib.sh, which it sources.
#
# A script tells of each case of its suite by `suite_case`, then of the whole by `suite_result`, and ends with `totals`.
# A case that does not pass must have its reason in SUITE.reasons; a reason must have a case that does not pass. What is
# otherwise counts as failed, so the script's own totals speak of surprises: "skipped" are all known not to pass.
# shellcheck source=../lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

SUITES=$ROOT/conformance/suites
# What the scripts tell, for the table: one line a case or suite, fields separated by tabs. conformance/test names a
# file that all write to.
SUITE_RESULTS=${SUITE_RESULTS:-$SCRATCH/results}
SUITE_CONFIG=$SCRATCH/suite.toml
: >"$SUITE_CONFIG"
declare -A SUITE_REASONS SUITE_USED SUITE_COUNT

# ---- tokens ---------------------------------------------------------------------------------------------------

# suite_config: the module's configuration for the tokens made from here on, from standard input.
suite_config() {
    cat >"$SUITE_CONFIG"
}

# suite_store NAME: a store as by use_store, with the suite's configuration. The software token's path to it is in
# NODETOKEN_STORE, its configuration in NODETOKEN_CONF.
suite_store() {
    use_store "$1"
    if on_card; then
        cat "$SUITE_CONFIG" >>"$NODETOKEN_CONF"
    else
        export NODETOKEN_CONF=$NODETOKEN_STORE.toml
        cp "$SUITE_CONFIG" "$NODETOKEN_CONF"
    fi
}

# suite_token LABEL: a store of its own (named after the label) with one new token, whose PINs are USER_PIN and SO_PIN.
suite_token() {
    suite_store "$1"
    attempt make_token "$1"
    [[ $STATUS == 0 ]] || die "no token for the suite: $(cat "$SCRATCH/output")"
}

# ---- sources --------------------------------------------------------------------------------------------------

# debian_source PACKAGE: unpacks what upstream released as Debian has it into the directory $SCRATCH/PACKAGE; upstream's
# version goes to SOURCE_VERSION. apt checks the signatures; the system's own lists and sources are left alone.
debian_source() {
    local package=$1 apt=$SCRATCH/apt options archive
    need dpkg-dev
    options=(-o "Dir::Etc::SourceList=$apt/sources.list" -o "Dir::Etc::SourceParts=$apt/none" -o "Dir::State::Lists=$apt/lists"
        -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=)
    if [[ ! -d $apt ]]; then
        mkdir -p "$apt/lists/partial" "$apt/cache"
        # shellcheck disable=SC2016 # the format is apt's own
        apt-get indextargets --format 'deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(REPO_URI) $(RELEASE) $(COMPONENT)' \
            'Created-By: Packages' 'Origin: Debian' 'Component: main' | sort -u >"$apt/sources.list"
        # Where the system has no lists yet, the archive that all mirrors copy.
        [[ -s $apt/sources.list ]] || echo 'deb-src http://deb.debian.org/debian bookworm main' >"$apt/sources.list"
        attempt apt-get -q "${options[@]}" update
        [[ $STATUS == 0 ]] || die "apt-get could not read the lists of sources: $(tail -n 5 "$SCRATCH/output")"
    fi
    mkdir "$SCRATCH/$package"
    attempt env -C "$SCRATCH/$package" apt-get -q "${options[@]}" source --tar-only --download-only "$package"
    [[ $STATUS == 0 ]] || die "apt-get could not get the source of $package: $(tail -n 5 "$SCRATCH/output")"
    archive=("$SCRATCH/$package/$package"_*.orig.tar.*)
    SOURCE_VERSION=${archive[0]##*_}
    SOURCE_VERSION=${SOURCE_VERSION%.orig.tar.*}
    tar -x -C "$SCRATCH/$package" --strip-components=1 -f "${archive[0]}"
}

# ---- results --------------------------------------------------------------------------------------------------

# read_reasons SUITE: the lines "CASE | REASON" of SUITE.reasons; in CASE a * stands for anything.
read_reasons() {
    local line
    SUITE_REASONS=() SUITE_USED=()
    SUITE_COUNT=([passed]=0 [failed]=0 [skipped]=0)
    READ_SUITE=$1
    [[ -f $SUITES/$1.reasons ]] || return 0
    while IFS= read -r line; do
        [[ -n $line && $line != '#'* ]] || continue
        [[ $line == ?*' | '?* ]] || die "$1.reasons: not \"CASE | REASON\": $line"
        SUITE_REASONS[${line%%' | '*}]=${line#*' | '}
    done <"$SUITES/$1.reasons"
}

# find_reason CASE: the pattern of the case in PATTERN, an exact one before all others; empty when there is none.
find_reason() {
    local pattern glob
    PATTERN=
    if [[ -n ${SUITE_REASONS[$1]:-} ]]; then
        PATTERN=$1
        return
    fi
    for pattern in "${!SUITE_REASONS[@]}"; do
        glob=${pattern//\\/\\\\}
        glob=${glob//\[/\\[}
        glob=${glob//\?/\\?}
        # shellcheck disable=SC2053 # it is a pattern
        if [[ $1 == $glob && ${#pattern} -gt ${#PATTERN} ]]; then PATTERN=$pattern; fi
    done
}

# suite_case SUITE CASE passed|failed|skipped [WORDS]: what became of a case. WORDS, which say why, count for a skipped
# case that SUITE.reasons does not name; in the table they must be the same at every run.
suite_case() {
    local suite=$1 case=$2 status=$3 words=${4:-}
    [[ $suite == "${READ_SUITE:-}" ]] || read_reasons "$suite"
    case $status in passed | failed | skipped) ;; *) die "$suite: $case: not a status: $status" ;; esac
    SUITE_COUNT[$status]=$((SUITE_COUNT[$status] + 1))
    : >"$SCRATCH/output"
    find_reason "$case"
    if [[ -n $PATTERN ]]; then
        # A pattern for many cases is used up by any of them; a pattern that names one case is that case's.
        [[ $status == passed && $PATTERN != "$case" ]] || SUITE_USED[$PATTERN]=1
        [[ $status == passed ]] || words=${SUITE_REASONS[$PATTERN]}
    fi
    if [[ $status == passed && $PATTERN == "$case" ]] && ours; then
        fail "$suite: $case" "passes, and $suite.reasons says that it does not"
    elif [[ $status == passed ]]; then
        pass "$suite: $case"
    elif [[ $status == failed && -n $PATTERN ]] && ours; then
        skip "$suite: $case" "$words"
    elif [[ $status == failed ]]; then
        fail "$suite: $case" "not in $suite.reasons${words:+: $words}"
        words='not explained'
    elif [[ -z $words ]]; then
        fail "$suite: $case" "skipped, and $suite.reasons does not say why"
        words='not explained'
    else
        skip "$suite: $case" "$words"
    fi
    [[ $status == passed ]] || printf 'case\t%s\t%s\t%s\t%s\n' "$suite" "$case" "$status" "${words//$'\t'/ }" >>"$SUITE_RESULTS"
}

# suite_result SUITE VERSION [PASSED FAILED SKIPPED]: the suite's own totals, where it gives any; they must agree with
# what suite_case was told.
suite_result() {
    local suite=$1 version=$2 counted pattern
    [[ $suite == "${READ_SUITE:-}" ]] || read_reasons "$suite"
    counted="${SUITE_COUNT[passed]} ${SUITE_COUNT[failed]} ${SUITE_COUNT[skipped]}"
    : >"$SCRATCH/output"
    [[ $# == 2 || ${*:3} == "$counted" ]] || fail "$suite: totals" "the suite says ${*:3}, its cases are $counted"
    [[ $counted != '0 0 0' ]] || fail "$suite: totals" 'no case was run'
    for pattern in "${!SUITE_REASONS[@]}"; do
        if ours && [[ -z ${SUITE_USED[$pattern]:-} ]]; then
            fail "$suite: $pattern" "is in $suite.reasons, and no such case fails or is skipped"
        fi
    done
    printf 'suite\t%s\t%s\t%s\n' "$suite" "$version" "${counted// /$'\t'}" >>"$SUITE_RESULTS"
    echo "$suite $version: ${SUITE_COUNT[passed]} passed, ${SUITE_COUNT[failed]} failed, ${SUITE_COUNT[skipped]} skipped"
    READ_SUITE=
}

# suite_table: the table of all suites in SUITE_RESULTS, the same for the same results.
suite_table() {
    cat <<'END'
# Suites that others wrote

Written by `conformance/test suites`, which runs them on a software token (where nothing else is said) whose
configuration opens the policy as far as the suite needs it. Why a case does not pass stands in `suites/SUITE.reasons`.

| suite | version | passed | failed | skipped |
|---|---|---|---|---|
END
    LC_ALL=C sort -u "$SUITE_RESULTS" | awk -F'\t' '
        { gsub(/\|/, "\\|") }
        $1 == "case" { cases[$2] = cases[$2] sprintf("| `%s` | %s | %s |\n", $3, $4, $5) }
        $1 == "suite" {
            printf "| %s | %s | %d | %d | %d |\n", $2, $3, $4, $5, $6
            p += $4; f += $5; s += $6
            order[++suites] = $2
        }
        END {
            printf "| all | | %d | %d | %d |\n", p, f, s
            for (i = 1; i <= suites; i++)
                if (order[i] in cases)
                    printf "\n## %s\n\n| case | | why |\n|---|---|---|\n%s", order[i], cases[order[i]]
        }'
}
