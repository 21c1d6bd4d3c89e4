"""Derive by example: from a few rows with the values that are wanted, the smallest expression that gives them.

Expressions are made from the small to the large, out of those that were made before, and of those that agree on all
rows at hand only the smallest goes on (bottom-up enumeration with observational equivalence: Alur et al. 2013,
Syntax-Guided Synthesis). Wanted texts are also cut into pieces, each a smaller expression or a constant, as FlashFill
does (Gulwani 2011, Automating String Processing in Spreadsheets Using Input-Output Examples). Every value that the
search sees is computed by the language itself (model/recipe/expressions), so that the step `derive` gives the same.
"""
