"""Several processes that train one network together.

group      who they are, what each takes of a batch, how their gradients become one
launch     starts them on this machine, and has what the first of them returns
launcher   the process that holds them: torch's elastic agent, which starts all anew where one dies
member     one of them
"""
