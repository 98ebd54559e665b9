# fish completion for `git gpa`, found as share/fish/vendor_completions.d/git-gpa.fish.

function __git_gpa_verb
	set -l words (commandline -opc)
	if contains -- gpa $words
		set -l at (contains -i -- gpa $words)
		set -l rest $words[(math $at + 1)..-1]
		for word in $rest
			string match -q -- '-*' $word; or begin
				echo $word
				return 0
			end
		end
	end
	return 1
end

complete -c git -n '__fish_git_using_command gpa; and not __git_gpa_verb' -f -a '(git gpa --git-completion-helper 2>/dev/null)'
complete -c git -n '__fish_git_using_command gpa; and __git_gpa_verb' -a '(git gpa (__git_gpa_verb) --git-completion-helper 2>/dev/null)'
