#!/bin/sh
# helm, with charts that are on this machine in place of those of repositories.
export HELM_CACHE_HOME='@HOME@' HELM_CONFIG_HOME='@HOME@' HELM_DATA_HOME='@HOME@'
for word do
    shift
    case "$word" in
@CASES@
    *) set -- "$@" "$word" ;;
    esac
done
exec '@HELM@' "$@"
