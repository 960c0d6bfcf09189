# Start file of an interactive zsh that prints what it would offer for a line, one word and its description a line, where
# it would show it: Tab prints that and `done:`, and takes the line away.
PS1= PS2= RPS1=
stty columns 1000
setopt no_prompt_cr no_prompt_sp
autoload -Uz compinit && compinit -D -u
compadd() {
    if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then
        builtin compadd "$@"
        return
    fi
    local -a words shown prefix
    local descriptions=${@[(i)-d]}
    if (( descriptions < $# )); then
        descriptions=$@[descriptions+1]
        shown=("${(@P)descriptions}")
    fi
    builtin compadd -A words -D shown "$@"
    zparseopts -E -a ignored P:=prefix
    local i
    for (( i = 1; i <= $#words; i++ )); do
        print -r -- "offer:$IPREFIX$prefix[2]$words[i]"$'\t'"${shown[i]#* -- }"
    done
}
source $AMESH_COMPLETION
print-offers() {
    zle list-choices
    print -r -- done:
    BUFFER=
}
zle -N print-offers
bindkey '^I' print-offers
print ready:
