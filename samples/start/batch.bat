@echo off
rem Starts the page on Windows, inside of WSL: copy this file to the desktop, and double-click it.
rem batch lies in the home folder of WSL, named batch. Leave the window open while you work: closing it closes batch.
title batch
where wsl.exe >nul 2>nul
if errorlevel 1 (
    echo batch needs the Windows Subsystem for Linux ^(WSL^), which is missing.
    echo To install it, open PowerShell as administrator, type:  wsl --install
    echo and restart the computer. Then double-click this again.
    pause
    exit /b 2
)
wsl.exe -e true >nul 2>nul
if errorlevel 1 (
    echo WSL is there, but has no Linux yet. Open PowerShell, and type:  wsl --install -d Ubuntu
    pause
    exit /b 2
)
wsl.exe -e bash -lc "test -x ~/batch/run.sh"
if errorlevel 1 (
    echo batch was not found. Put its folder into the home folder of WSL, named batch:
    echo in the Explorer that is  \\wsl.localhost\Ubuntu\home\YOUR-NAME\batch
    pause
    exit /b 2
)
wsl.exe -e bash -lc "BATCH_WINDOW=1 ~/batch/run.sh page"
