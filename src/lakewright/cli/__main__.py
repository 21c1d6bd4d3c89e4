from lakewright.cli import main

main()
