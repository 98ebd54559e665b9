#!/bin/sh
# git-gpa hook @SUM@
#
# Starts maintenance in the background when something is due. `git gpa install` writes this file and `git gpa uninstall`
# removes it, both unless somebody changed it: the sum above is of all lines below. It is the same for every event.
#
# The hook that was here before runs first, with its arguments and its input; its exit status is the answer. Our own
# part prints nothing, reads nothing, waits for nothing, and never changes that status.

program=@PROGRAM@

# Counts files, given as the names that a pattern stands for: the pattern itself when it stands for none.
count() {
	[ ! -e "$1" ] || found=$((found + $#))
}

# Whether a run would find something to do. The last one left gpa/next, whose mtime is the moment from which on something
# is due by time, and gpa/next-<packs>-<loose>: from how many packs on, and from how many loose objects in four of the 256
# directories on. Only names and times are looked at, since whoever may write to gpa/ could put a FIFO or a file without
# end there. No process is needed to find out. What cannot be told counts as due.
is_due() {
	next=$git_dir/gpa/next
	[ -f "$next" ] || return 0
	set -- "$next"-*
	[ $# = 1 ] || return 0
	counts=${1##*/next-}
	case $counts in [0-9]*-[0-9]*) ;; *) return 0 ;; esac
	found=0
	count "$git_dir"/objects/pack/pack-*.idx
	[ "$found" -lt "${counts%-*}" ] || return 0
	found=0
	for fan in 17 3c 8a d5; do
		count "$git_dir/objects/$fan"/*
	done
	[ "$found" -lt "${counts#*-}" ] || return 0
	now=/proc/self # no older than this process
	[ -e "$now" ] || { made=$(mktemp) && now=$made; } || return 0
	[ "$now" -nt "$next" ]
	is_over=$?
	[ "$now" = /proc/self ] || rm -f "$now"
	return $is_over
}

maintain() {
	# Inside a quarantine the pushed objects are not there yet.
	[ -z "$GIT_QUARANTINE_PATH" ] || return
	git_dir=${GIT_DIR:-.git}
	# In a linked worktree GIT_DIR is not where the objects are.
	if [ ! -d "$git_dir/objects" ]; then
		git_dir=$(git rev-parse --git-common-dir && echo .) || return
		git_dir=${git_dir%??} # its name may end with a newline
	fi
	# What clients of a data branch push waits here for being merged.
	inbox=
	[ ! -d "$git_dir/refs/data-inbox" ] || inbox=yes
	[ "$inbox" ] || is_due || return
	[ -x "$program" ] || program=$(command -v git-gpa) || return
	unset CDPATH GIT_ALTERNATE_OBJECT_DIRECTORIES GIT_COMMON_DIR GIT_CONFIG GIT_GRAFT_FILE GIT_INDEX_FILE \
		GIT_NAMESPACE GIT_OBJECT_DIRECTORY GIT_PREFIX GIT_SHALLOW_FILE GIT_WORK_TREE
	cd "$git_dir" && export GIT_DIR="$PWD" || return
	# Nothing stays open that somebody waits for: beyond 2 too, since git lends a hook a copy of its standard error.
	(
		# By exec, since a shell keeps copies of what it redirects for a part of itself.
		exec </dev/null >/dev/null 2>&1 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
		[ ! "$inbox" ] || "$program" data inbox
		exec "$program" run --auto --detach
	) &
}

status=0
if [ -f "$0.before-gpa" ] && [ -x "$0.before-gpa" ]; then
	"$0.before-gpa" "$@"
	status=$?
fi
maintain >/dev/null 2>&1
exit $status
